"""Pictures of the figures: drawn by a real browser, with room for every label; and what is said where there is none."""

import os
import shutil
import struct
import xml.etree.ElementTree as xml
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from l2tune import Tradeoff, UserError
from l2tune.report.figures import FIGURES
from l2tune.report.pictures import STILL

MakeStudy = Callable[..., optuna.Study]


@pytest.fixture(scope="module")
def browser_for_kaleido() -> None:
    pytest.importorskip("kaleido")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        assert not os.environ.get("L2TUNE_CI"), "Chromium is not installed"
        pytest.skip("Chromium is not installed")


@pytest.fixture(scope="module")
def tradeoff(make_valley: MakeStudy) -> Tradeoff:
    return Tradeoff.from_study(make_valley())


def test_each_figure_is_a_file(browser_for_kaleido: None, tradeoff: Tradeoff, tmp_path: Path) -> None:
    files = tradeoff.report(tmp_path, formats=["svg", "png", "csv"])
    drawn = [name for name in STILL if FIGURES[name](tradeoff) is not None]
    names = {f"{name}.{kind}" for name in drawn for kind in ("svg", "png")}
    assert len(drawn) >= 5
    assert {path.name for path in files} == names | {"trials.csv", "curve.csv"} == set(os.listdir(tmp_path))
    for name in drawn:
        picture = xml.fromstring((tmp_path / f"{name}.svg").read_text())
        width, height = (float(picture.get(side, 0)) for side in ("width", "height"))
        fills = [element.get("style", "") for element in picture.iter() if element.tag.endswith("rect")]
        assert any("fill: rgb(255, 255, 255)" in fill for fill in fills), "on white"
        content = (tmp_path / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG")
        assert struct.unpack(">II", content[16:24]) == (3 * width, 3 * height)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"diverged": lambda s: True},
            "--format svg: every fit diverged, so there is no figure to draw; lower the learning rate and search again",
        ),
    ],
)
def test_nothing_to_draw_is_one_line(
    make_study: MakeStudy, given: dict[str, object], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("l2tune.report.pictures.STILL", ("tradeoff",))
    t = Tradeoff.from_study(make_study(lambda s: 0.2, lambda s: 0.1, **given))
    with pytest.raises(UserError) as raised:
        t.report(tmp_path / "x", formats=["csv", "svg"])
    assert str(raised.value) == line
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'kaleido'"), RuntimeError("\nKaleido needs Chrome.\nx")]
)
def test_without_a_browser_it_says_what_to_install(
    tradeoff: Tradeoff, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise error

    monkeypatch.setattr("l2tune.report.pictures._draw", refuse)
    with pytest.raises(UserError) as raised:
        tradeoff.report(tmp_path, formats=["png", "html"])
    why = str(error).strip().splitlines()[0].rstrip(".")
    assert str(raised.value) == (
        f"--format png: no picture could be made ({why}); pip install 'l2tune[png]' and install Chromium or Chrome"
    )
    assert os.listdir(tmp_path) == []
