"""Anything at all at the entrances: settings, a parsed call or a storage come out, or one line that says what is wrong.

`L2TUNE_EXAMPLES=2000 pytest tests/commands/test_entrance_fuzz.py` tries harder, as `-m long` does.
"""

import contextlib
import io
import os
import shlex
import shutil
import tomllib
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import optuna
import pytest
import tomli_w
from cyclopts import App
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l2tune.cli import main
from l2tune.commands.flags import with_settings
from l2tune.errors import UserError
from l2tune.search.storage import open_storage
from l2tune.settings import PLACES, Settings, build, field_of
from l2tune.storage_url import without_password

EXAMPLES = int(os.environ.get("L2TUNE_EXAMPLES", "120"))
MANY = 4000

SIGNS = st.characters(exclude_categories=()) | st.sampled_from("/\\.:@?&=%[]{}-~ \0\n\x1b\u202e\udcffλ")
TEXTS = st.text(SIGNS, max_size=12) | st.sampled_from(["none", "null", "..", "1_0", "0x10", "nan", "1e400", "x" * 300])
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**70, -(2**70), 10**400, 1e-320, 1e300, 3.0, 0, 1])
VALUES = st.none() | st.booleans() | NUMBERS | TEXTS
ODD = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2), max_leaves=4
)


def fitting(name: str) -> st.SearchStrategy[Any]:
    """Values that a setting mostly takes."""
    kinds = get_args(field_of(name).annotation) or (field_of(name).annotation,)
    kind = field_of(name).annotation
    if name == "lambda_range":
        return st.tuples(st.floats(1e-13, 1e7), st.floats(1e-13, 1e7)).map(sorted).map(tuple)
    if name == "augment":
        return st.lists(st.sampled_from(["flip", "shift"]), max_size=2)
    if get_origin(kind) is Literal:
        return st.sampled_from(kinds)
    if bool in kinds:
        return st.booleans()
    if int in kinds:
        return st.integers(1, 2000)
    return st.floats(1e-6, 1) if float in kinds else st.text("ab-_/.é 1:@", max_size=8)


FLAT = st.fixed_dictionaries({}, optional={name: fitting(name) for name in PLACES})
ODD_FLAT = st.dictionaries(st.sampled_from([*PLACES, "epoch", ""]), ODD, max_size=3)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["data", "model", "penalty", "training", "search", "study", "out", "storage", "epochs"]) | TEXTS,
    ODD | st.dictionaries(st.sampled_from(["lr", "epochs", "name", "source", "seed", "form"]) | TEXTS, ODD, max_size=3),
    max_size=4,
)


def tried(many: bool, slow: int = 1) -> Any:
    """How many examples: a part of them where each takes long."""
    count = (MANY if many else EXAMPLES) // slow
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None)


def is_one_line(text: str) -> bool:
    return bool(text) and not any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in text)


def line_of(error: UserError) -> str:
    assert is_one_line(str(error)), repr(str(error))
    return str(error)


def built(make: Callable[[], Settings]) -> Settings | None:
    """Settings that read back to themselves, or None where they were refused in one line."""
    try:
        found = make()
    except UserError as error:
        line_of(error)
        return None
    shown = found.model_copy(update={"storage": without_password(found.storage)})
    assert Settings.model_validate(tomllib.loads(found.toml())) == shown
    assert parsed(shlex.split(found.command())[2:]) == shown
    return found


_app = App(result_action="return_value", exit_on_error=False, print_error=False)


@_app.default
@with_settings
def _parse(file: str | None = None, /, **given: object) -> object:
    return build(given, file)


def parsed(words: list[str]) -> object:
    return _app(words)


def both(test: Callable[..., None]) -> Callable[..., None]:
    """A quick run and a long one of the same test."""
    return pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.long)], ids=["", "many"])(test)


@both
def test_any_flat_dictionary_is_settings_or_a_line(many: bool) -> None:
    taken = 0

    @tried(many)
    @given(FLAT, st.just({}) | ODD_FLAT)
    def check(fit: dict[str, Any], odd: dict[str, Any]) -> None:
        nonlocal taken
        taken += built(lambda: build({**fit, **odd}, flags=True)) is not None

    check()
    assert taken > 10


@both
def test_any_document_is_settings_or_a_line(many: bool, tmp_path: Path) -> None:
    file = tmp_path / "search.toml"

    @tried(many)
    @given(DOCUMENTS.map(_written) | st.binary(max_size=40) | st.text('[]="data.#\n1', max_size=20).map(str.encode))
    def check(content: bytes) -> None:
        file.write_bytes(content)
        built(lambda: build({}, file))

    check()


def _written(document: dict[str, Any]) -> bytes:
    try:
        return tomli_w.dumps(document).encode(errors="surrogatepass")
    except (TypeError, ValueError, AttributeError):  # None, and texts that TOML cannot write
        return b"[training]\nepochs = 2"


URLS = st.builds(
    lambda start, name, end: start + name.replace("/", "_") + end,
    st.sampled_from(["", "sqlite:///", "sqlite://", "sqlite+pysqlite:///", "sqlite:///file:", "sqlite+no:///", "no://"])
    | st.sampled_from(["", "folder/", "sqlite:///folder/", "missing/", "sqlite:///missing/", "file:"]),
    TEXTS | st.sampled_from(["other.db", "text.db", "empty.db", "text.log", "pipe.db", "pipe.log", "folder.db"]),
    st.sampled_from(["", ".db", ".log", ".jsonl", "?mode=ro&uri=true", "?timeout=x", "?password=hunter2"]),
)


@both
def test_any_text_opens_a_storage_or_is_a_line(many: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    @tried(many, slow=3)
    @given(URLS, st.booleans())
    def check(url: str, must_exist: bool) -> None:
        shutil.rmtree(tmp_path)
        for folder in ("folder", "folder.db"):
            (tmp_path / folder).mkdir(parents=True)
        os.chdir(tmp_path)
        for name in ("text.db", "text.log"):
            Path(name).write_text("no storage" * 200)
        Path("empty.db").touch()
        os.mkfifo("pipe.db")
        os.mkfifo("pipe.log")
        before = sorted(Path().rglob("*"))
        line = ""
        try:
            storage = open_storage(url, must_exist=must_exist)
        except UserError as error:
            line = line_of(error)
        if line:
            assert "hunter2" not in line
            assert sorted(Path().rglob("*")) == before
            return
        assert optuna.get_all_study_names(storage) == []
        if isinstance(storage.backend, optuna.storages.RDBStorage):
            storage.remove_session()
            storage.backend.engine.dispose()

    check()


class _BodyReached(SystemExit):
    """The call was parsed and its checks passed: what would follow is the body of the command."""


@pytest.fixture
def no_bodies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def stop(*words: object, **named: object) -> None:
        raise _BodyReached(0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("l2tune.assemble.assemble", stop)
    monkeypatch.setattr("l2tune.search.storage.open_storage", stop)
    yield
    assert not list(tmp_path.iterdir())


WORDS = (
    TEXTS
    | NUMBERS.filter(lambda number: abs(number) < 10**4000).map(str)
    | st.sampled_from([f"--{name.replace('_', '-')}" for name in PLACES])
    | st.sampled_from(["--restart", "--quiet", "--one-se", "--lambda", "--port", "--format", "--help", "--", "-h", "a"])
    | st.builds("--{}={}".format, st.sampled_from([name.replace("_", "-") for name in PLACES]), TEXTS)
)
ARGV = st.builds(
    lambda command, words: [*command, *words],
    st.sampled_from([[name] for name in ("search", "estimate", "show", "report", "list", "fit", "dashboard")] + [[]]),
    st.lists(WORDS, max_size=5) | st.builds(lambda flat: shlex.split(build_or_default(flat).command())[2:], FLAT),
)


def build_or_default(flat: dict[str, Any]) -> Settings:
    try:
        return build(flat)
    except UserError:
        return build({})


@both
def test_any_words_are_a_call_or_a_line(many: bool, no_bodies: None) -> None:
    reached = 0

    @tried(many)
    @given(ARGV, st.sampled_from(["ascii", "cp1252", "utf-8"]))
    def check(argv: list[str], encoding: str) -> None:
        nonlocal reached
        out, errors = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as end:
            main(argv)
        errors.flush()
        text = errors.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
        if isinstance(end.value, _BodyReached):
            reached += 1
        elif end.value.code == 0:
            assert text == "", "help or version"
        else:
            assert end.value.code == 2, text
            assert text.startswith("l2tune: ")
            assert text.endswith("\n")
            assert is_one_line(text[:-1]), repr(text)

    check()
    assert reached > 10
