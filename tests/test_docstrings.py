"""Every public name says what it is, and what its docstring shows runs."""

import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap

import numpy as np
import optuna
import pytest

import l2tune

MODULES = [m.name for m in pkgutil.walk_packages(l2tune.__path__, "l2tune.") if m.name != "l2tune.__main__"]


@pytest.mark.parametrize("name", l2tune.__all__)
def test_public_names_have_docstrings_in_sentences(name: str) -> None:
    found = getattr(l2tune, name)
    text = inspect.getdoc(found)
    assert text is not None, name
    assert re.match(r"[A-Z`‖].*[.:]", text.split("\n\n")[0].replace("\n", " ")), f"{name}: {text.splitlines()[0]}"
    for attribute, value in vars(found).items():
        if inspect.isfunction(value) and not attribute.startswith("_") and found.__module__.startswith("l2tune"):
            inherited = inspect.getdoc(getattr(found, attribute))
            assert inherited, f"{name}.{attribute} has no docstring"


def test_examples_give_what_they_say() -> None:
    tried = failed = 0
    for name in MODULES:
        module = importlib.import_module(name)
        found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
        tried, failed = tried + found.attempted, failed + found.failed
    assert tried >= 10
    assert failed == 0


def blocks(found: object) -> list[str]:
    """Indented examples of a docstring, those without a prompt."""
    pattern = r"(?<=\n\n)(?:^    .*\n|^\n)+"  # what stands below `Args:` follows it at once
    text = inspect.getdoc(found) or ""
    return [textwrap.dedent(block) for block in re.findall(pattern, text + "\n", re.MULTILINE) if "=" in block]


@pytest.mark.parametrize("name", ["CrossValidationObjective", "TradeoffObjective", "Tradeoff", "tune"])
def test_longer_examples_run(name: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # type: ignore[arg-type]
    study = optuna.create_study()
    scope = {"optuna": optuna, "study": study, **{public: getattr(l2tune, public) for public in l2tune.__all__}}
    objective = l2tune.CrossValidationObjective(fit=lambda s, *_: 0.5 + s + 0.1 * np.log1p(1e-3 / (s + 1e-6)), folds=2)
    study.optimize(objective, n_trials=3)
    code = [
        block
        for block in blocks(getattr(l2tune, name))
        if ("study" in block or "tune(" in block) and "Args:" not in block
    ]
    assert code, name
    for block in code:
        quick = re.sub(r"n_trials=\d+", "n_trials=2", re.sub(r"epochs=\d+", "epochs=1, subset=100", block))
        quick = quick.replace("folds=5", "folds=2")
        exec(compile(quick, name, "exec"), scope)
