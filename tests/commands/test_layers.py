"""`l2tune layers`: what λ acts on, without training anything."""

from pathlib import Path

import pytest
from torch import nn

from l2tune.cli import main


def make(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network for the tests."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.LayerNorm(8), nn.Linear(8, classes))


MODEL = f"{__name__}:make"


def layers(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[list[list[str]], str]:
    """The table's cells, and the last line."""
    with pytest.raises(SystemExit) as ended:
        main(["layers", "--model", MODEL, *words])
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "")
    _, *rows, last = out.splitlines()
    return [row.split(None, 4) for row in rows], last


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_parameter_in_order(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    rows, last = layers(capsys)
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["1.weight", "8×64", "512", "Linear", "λ"],
        ["1.bias", "8", "8", "Linear", "no: bias"],
        ["2.weight", "8", "8", "LayerNorm", "no: normalization"],
        ["2.bias", "8", "8", "LayerNorm", "no: bias"],
        ["3.weight", "10×8", "80", "Linear", "λ"],
        ["3.bias", "10", "10", "Linear", "no: bias"],
    ]
    assert last == "λ acts on 592 of 626 parameters in 2 tensors"
    assert list(here.iterdir()) == []


def test_patterns_and_multipliers(capsys: pytest.CaptureFixture[str]) -> None:
    rows, last = layers(capsys, "--regularize", "1.*", "3.weight", "--scale", "1.*=0.5", "1.bias=0")
    assert [row[4].strip() for row in rows] == [
        "0.5 λ",
        "no: multiplier 0",
        "no: not matched",
        "no: not matched",
        "λ",
        "no: not matched",
    ]
    assert last == "λ acts on 592 of 626 parameters in 2 tensors"


def test_a_file_of_settings(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    (here / "mine.toml").write_text('[penalty]\nregularize = "3.*"\n[penalty.scale]\n"*" = 0.1\n"3.bias" = 2\n')
    rows, last = layers(capsys, "mine.toml")
    assert [row[4].strip() for row in rows][4:] == ["0.1 λ", "2 λ"]
    assert last == "λ acts on 90 of 626 parameters in 2 tensors"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--regularize", "3.wait"],
            "l2tune: regularize: '3.wait' matches no parameter of the network; did you mean '3.weight' or '2.weight'?",
        ),
        (
            ["--scale", "*.bias=2"],
            "l2tune: scale: '*.bias' matches no penalized parameter; known are 1.weight, 3.weight",
        ),
        (["--scale", "3.*"], "l2tune: --scale: '3.*' is no multiplier; write PATTERN=NUMBER, e.g. 'fc*=0.1'"),
        (
            ["--regularize", "all", "3.*"],
            "l2tune: --regularize: 'all' goes with no other; give weights, all, or patterns alone",
        ),
    ],
)
def test_what_matches_nothing_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["layers", "--model", MODEL, *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip() == line
