"""Figures on the dashboard's cards: panels shrink, what stands between them keeps its room."""

from collections.abc import Callable
from itertools import pairwise

import optuna
import pytest

from l2tune import Tradeoff
from l2tune.report.cards import HEIGHT, on_card
from l2tune.report.figures import FIGURES

MakeStudy = Callable[..., optuna.Study]


def gaps(figure: object, plot: float) -> list[float]:
    """Pixels between the panels."""
    domains = sorted({tuple(axis.domain) for axis in figure.select_yaxes() if axis.domain})  # type: ignore[attr-defined]
    return [plot * (after[0] - before[1]) for before, after in pairwise(domains)]


@pytest.mark.parametrize("name", ["tradeoff", "gap", "network"])
def test_the_room_between_panels_is_kept(make_valley: MakeStudy, name: str) -> None:
    figure = FIGURES[name](Tradeoff.from_study(make_valley()))
    assert figure is not None
    card, around = on_card(figure), figure.layout.margin.t + figure.layout.margin.b
    assert card.layout.height is None
    assert card.layout.paper_bgcolor == "white"
    assert figure.layout.height is not None, "the figure itself is left"
    plot = figure.layout.height - around
    assert len(gaps(figure, plot)) >= 1
    kept = zip(gaps(card, HEIGHT - around), gaps(figure, plot), strict=True)
    assert all(after >= before - 1e-6 for after, before in kept)
    headings = [a.y for a in card.select_annotations() if a.yref == "paper" and str(a.text).startswith("<b>")]
    tops = {axis.domain[1] for axis in card.select_yaxes() if axis.domain}
    assert {round(y, 9) for y in headings} == {round(top, 9) for top in tops}, "each heading is above its panel"
