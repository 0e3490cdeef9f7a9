import os

import pytest

from l2tune.data.sources import load
from l2tune.errors import UserError
from l2tune.importing import load_callable, user_path
from l2tune.settings import DataSettings


def refusal(reference):
    with pytest.raises(UserError) as refused:
        load_callable(reference, "--model x")
    line = str(refused.value)
    assert "\n" not in line
    return line.removeprefix("--model x: ")


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import sys; sys.exit(7)", "SystemExit: 7"),
        ("raise SystemExit", "SystemExit"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise StopIteration(3)", "StopIteration: 3"),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
        ("def f(): f()\nf()", "RecursionError: "),
        ("class E(Exception):\n  def __str__(self): raise ValueError\nraise E", "E"),
        ("import sys; sys.modules.pop(__name__); 1 / 0", "ZeroDivisionError: division by zero"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("def __getattr__(name): raise OSError('no')", "OSError: no"),
    ],
)
def test_what_a_file_raises_is_told(tmp_path, code, cause):
    (tmp_path / "x.py").write_text(code)
    line = refusal(f"{tmp_path}/x.py:f")
    assert line.startswith(f"importing '{tmp_path}/x.py' failed ({cause}")
    assert line.endswith("); mend the module")


def test_ctrl_c_passes_through(tmp_path):
    (tmp_path / "x.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_callable(f"{tmp_path}/x.py:f", "--model x")


@pytest.mark.parametrize("reference", ["~nouser/x.py:f", "~/no such file 1.py:f", "a\0b.py:f"])
def test_files_that_are_not_there(reference):
    source = reference.removesuffix(":f")
    assert refusal(reference) == f"no such file {source!r}; give path/file.py:function"


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "x.py").mkdir()
    assert refusal(f"{tmp_path}/x.py:f") == f"no such file '{tmp_path}/x.py'; give path/file.py:function"


@pytest.mark.parametrize("reference", ["..x:f", "a..b:f", "a b:f", "a\0b:f"])
def test_names_that_can_be_no_modules(reference):
    refusal(reference)


def test_paths_of_nobody_stay_as_they_are():
    assert str(user_path("~nouser/x")) == "~nouser/x"
    assert str(user_path("~/x")) == os.path.expanduser("~/x")


def data_refusal(text, **settings):
    with pytest.raises(UserError) as refused:
        load(DataSettings(source=text, **settings))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_data_of_nobody_are_not_there():
    assert data_refusal("~nouser/x").startswith("--data ~nouser/x: no such data set, folder or file; ")
    assert data_refusal("~nouser/x.npz") == "--data ~nouser/x.npz: no such file; give the path of an .npz file"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit()", "SystemExit"),
        ("raise GeneratorExit", "GeneratorExit"),
    ],
)
def test_a_function_that_ends_the_program_is_told(tmp_path, code, cause):
    (tmp_path / "x.py").write_text(f"def f():\n    {code}\ndef g():\n    raise KeyboardInterrupt")
    assert data_refusal(f"{tmp_path}/x.py:f") == (
        f"--data {tmp_path}/x.py:f: the function failed ({cause}); it is called without arguments"
    )
    with pytest.raises(KeyboardInterrupt):
        load(DataSettings(source=f"{tmp_path}/x.py:g"))
