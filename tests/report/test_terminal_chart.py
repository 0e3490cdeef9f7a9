"""The curve in a terminal: every meaning has a sign, with and without colour."""

from collections.abc import Callable, Mapping

import optuna
import pytest

from l2tune import Metric, Tradeoff
from l2tune.report.colors import BALANCED, BEST, OVERFITS, UNDERFITS, VALIDATION
from l2tune.report.terminal_chart import Chart
from l2tune.search.state import read_state

MakeStudy = Callable[..., optuna.Study]


def drawn(t: Tradeoff, width: int = 80, **more: bool) -> list[str]:
    chart = Chart.of(t)
    assert chart is not None
    return [line.plain for line in chart.draw(width, **more)]


@pytest.fixture(scope="module")
def tradeoff(make_valley: MakeStudy) -> Tradeoff:
    return Tradeoff.from_study(make_valley())


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_line_is_wider_than_asked_for(tradeoff: Tradeoff, width: int, ascii_only: bool) -> None:
    lines = drawn(tradeoff, width, ascii_only=ascii_only)
    assert max(map(len, lines)) <= width
    assert "".join(lines).isascii() == ascii_only


def test_every_meaning_has_its_sign_and_colour(tradeoff: Tradeoff) -> None:
    chart = Chart.of(tradeoff)
    assert chart is not None
    lines = chart.draw(80, ascii_only=True)
    axis = next(i for i, line in enumerate(lines) if line.plain.lstrip().startswith("+"))
    styles = {
        line.plain[span.start : span.end].strip(): str(span.style)
        for line in lines[: axis + 4]
        for span in line.spans
        if line.plain[span.start : span.end].strip()
    }
    assert styles["."] == VALIDATION
    assert styles["o"] == VALIDATION
    assert styles["*"] == f"bold {BEST}"
    assert styles["<"] == OVERFITS
    assert styles["="] == BALANCED
    assert styles[">"] == UNDERFITS
    assert sum("0|" in line.plain for line in lines[:axis]) == 1, "λ = 0 stands beside the axis"
    interval, regimes = lines[axis + 2].plain, lines[axis + 3].plain
    assert interval.lstrip().strip("-*") in ("[]", "[", "]", "")
    best = next(line.plain.index("*") for line in lines[:axis] if "*" in line.plain)
    assert interval[best] == "*"
    assert regimes[best] == "=", "λ_best is balanced"


@pytest.mark.parametrize("name", ["loss", "accuracy", "error", "psnr", "regret"])
def test_more_is_drawn_higher(make_own: MakeStudy, metrics: Mapping[str, Metric], name: str) -> None:
    t = Tradeoff.from_study(make_own(metrics[name]))
    lines = drawn(t)
    axis = next(i for i, line in enumerate(lines) if "└" in line)
    rows = {sign: next(i for i, line in enumerate(lines[:axis]) if sign in line) for sign in ("0│", "●")}
    assert (rows["●"] < rows["0│"]) == metrics[name].maximize
    values = [float(lines[i].split("│")[0].rstrip("0 ") or lines[i].split("│")[0]) for i in (0, axis - 1)]
    assert values[0] > values[1]


def test_a_search_is_drawn_as_far_as_it_is(make_study: MakeStudy) -> None:
    begun = make_study(lambda s: 0.2 + s, lambda s: 0.1, strengths=(0.0, 1e-4))
    chart = Chart.so_far(read_state(begun))
    assert chart is not None
    assert "└" in "".join(line.plain for line in chart.draw(60))
    nothing = make_study(lambda s: 0.2, lambda s: 0.1, diverged=lambda s: True)
    assert Chart.so_far(read_state(nothing)) is None
    assert Chart.of(Tradeoff.from_study(nothing)) is None


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_flat_curve_can_be_drawn(make_study: MakeStudy, value: float) -> None:
    lines = drawn(Tradeoff.from_study(make_study(lambda s: value, lambda s: value, noise=0.0)))
    assert any("└" in line for line in lines)
