"""What the README shows runs as it stands there."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import optuna
import pytest

import l2tune
from l2tune.cli import app
from l2tune.comparison_settings import build_comparison
from l2tune.settings import build, read_toml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_study_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    tuned, code, own_training = blocks("python")
    exec(compile(tuned, "README.md", "exec"), {})
    quick = code.replace("folds=5, epochs=30", "folds=2, epochs=1, subset=100").replace("n_trials=40", "n_trials=3")
    assert quick.count("epochs=1") == 1
    assert quick.count("n_trials=3") == 1
    scope: dict[str, object] = {}
    exec(compile(quick, "README.md", "exec"), scope)
    assert (tmp_path / "runs/mine/report.html").is_file()
    assert "λ" in capsys.readouterr().out

    own = own_training.replace("    ...\n", "    return abs(strength - 0.01) + 0.1 * fold\n")
    exec(compile(own, "README.md", "exec"), scope)
    study = optuna.create_study(sampler=l2tune.FoldCurveSampler(seed=0))
    study.optimize(scope["objective"], n_trials=3)  # type: ignore[arg-type]
    assert len(study.trials[0].intermediate_values) == 5


def test_the_settings_file_is_one(tmp_path: Path) -> None:
    [text] = blocks("toml")
    (tmp_path / "photos.toml").write_text(text)
    assert build({}, tmp_path / "photos.toml").study == "photos"


def _any_toml(path: str | Path) -> dict[str, Any]:
    """A file of the user's own is as good as the one in README."""
    return read_toml(path) if Path(path).exists() else tomllib.loads(blocks("toml")[0])


@pytest.mark.parametrize("line", re.findall(r"^    (l2tune (?:search|compare).*?)(?:  +#.*)?$", README, re.MULTILINE))
def test_the_commands_are_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("l2tune.settings.read_toml", _any_toml)
    _, bound, ignored = app.parse_args(shlex.split(line)[1:], print_error=False, exit_on_error=False)
    assert not ignored
    given = {name: value for name, value in bound.arguments.items() if name in build({}).flat()}
    file = next((word for word in shlex.split(line) if word.endswith(".toml")), None)
    if line.startswith("l2tune compare"):
        penalties = bound.arguments.get("penalties")
        build_comparison(given, penalties and ",".join(penalties), file, flags=True)
    else:
        build(given, file, flags=True)


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.toml")), ids=lambda path: path.stem)
def test_the_studies_are_settings(path: Path) -> None:
    if "penalties" in read_toml(path):
        assert build_comparison({}, None, path).name == path.stem
    else:
        assert build({}, path).study == path.stem


def test_the_digits_study_is_the_default() -> None:
    assert build({}, ROOT / "studies/digits.toml") == build({})


def test_the_pictures_are_there() -> None:
    for path in re.findall(r"\]\(((?:docs|studies)/[^)]+)\)", README):
        assert (ROOT / path).stat().st_size > 1_000
