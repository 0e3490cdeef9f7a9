"""The search, fit by fit: a figure whose frames show what was known of λ after each.

The figure itself shows the end. Frame i holds only what its traces have other than the figure's, so trace k of frame i
is `{**figure.data[k], **frame.data[k]}`: where y is shorter than x, plotly draws as many points as y has. What a frame
says stands in `frame.layout.meta["says"]`, as plain text; axes and traces are the same in all. A fit beyond the scale
is a triangle at its edge, one that diverged a cross.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.wording import amount
from l2tune.curve.observations import Observations
from l2tune.report.canvas import STRENGTH_AXIS, Canvas, own_number, score_heading, score_ticks, short
from l2tune.report.colors import BASELINE, BEST, VALIDATION, shade
from l2tune.report.labels import for_plotly, metric_name
from l2tune.report.replay import Replay, Step, replay


def replay_figure(t: Estimates) -> go.Figure | None:
    """The curve with its band, the folds and λ_best after each fit; see above.

    None if there is no curve, because every fit diverged or no λ above 0 was run, and where there are not two fits.
    """
    if t.curve is None or not len(t.record.observations.tried):
        return None
    course = replay(t)
    if course.fits < 2:
        return None
    view = _view(t)
    canvas = Canvas(
        [score_heading("validation", t.metric)],
        STRENGTH_AXIS,
        zero=t.row(0.0) is not None,
        reading="ring: newest fit; star: best λ so far, with 95 % interval",
    )
    canvas.strengths(t.curve.low, t.curve.high)
    canvas.y(range=sorted(map(t.metric.score, view)), **score_ticks(t.metric))
    drawing = _Drawing(t, course, canvas, _points(t, course.steps[-1].seen, view))
    figure = canvas.figure
    figure.add_traces([{"type": "scatter"} | trace for trace in drawing.traces()])
    figure.frames = [
        go.Frame(
            data=[{"type": "scatter"} | changes for changes in drawing.changes(step)],
            name=f"fit {step.fits}",
            layout={"meta": {"says": step.says}},
        )
        for step in course.steps
    ]
    for trace, changes in zip(figure.data, drawing.changes(course.steps[-1]), strict=True):
        trace.update(changes)
    canvas.finished()
    figure.layout.meta |= {"note": course.note}
    return figure


@dataclass(frozen=True, eq=False)
class _Points:
    """Fits that are drawn in one way.

    Attributes:
        name: Of the trace.
        marker: As plotly has it.
        zero: Whether they are at λ = 0.
        places: (n,) of the observations, rising.
        x: (n,) λ, or places on the axis of λ = 0.
        y: (n,) scores, those beyond the view at its edge.
    """

    name: str
    marker: dict[str, Any]
    zero: bool
    places: list[int]
    x: list[float]
    y: list[float]

    def until(self, count: int) -> list[float]:
        """y of those among so many observations."""
        return self.y[: int(np.searchsorted(self.places, count))]


def _points(t: Estimates, seen: Observations, view: tuple[float, float]) -> list[_Points]:
    """All observations, by how they are drawn."""
    found = []
    beside = np.linspace(-1.0, 1.0, seen.folds) if seen.folds > 1 else np.zeros(1)
    edge = view[1] - 0.02 * (view[1] - view[0])
    seen_in_view = seen.cost <= view[1]
    diverged = ~np.isfinite(seen.cost)
    triangle = "triangle-down" if t.metric.maximize else "triangle-up"
    for name, which, symbol in (
        ("folds", seen_in_view, "circle"),
        ("beyond the scale", ~seen_in_view & ~diverged, triangle),
        ("diverged", diverged, "x"),
    ):
        for zero in (False, True):
            places = np.flatnonzero(which & ((seen.strength == 0) == zero))
            if not len(places):
                continue
            color = BASELINE if zero else VALIDATION
            x = beside[seen.fold[places]] if zero else seen.strength[places]
            y = t.metric.score(np.where(seen_in_view, seen.cost, edge)[places])
            marker = {"color": color, "size": 7, "opacity": 0.6, "symbol": symbol}
            found.append(_Points(name, marker, zero, places.tolist(), short(x), short(y)))
    return found


@dataclass(frozen=True, eq=False)
class _Drawing:
    """The traces, and what each step has other than the others.

    Attributes:
        canvas: Where to.
        points: All fits.
    """

    t: Estimates
    course: Replay
    canvas: Canvas
    points: Sequence[_Points]

    def traces(self) -> Iterator[dict[str, Any]]:
        """What stays the same in all steps."""
        x, main = self.course.strengths, self.canvas.panel()
        line = main | {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
        there_and_back = short(np.concatenate([x, x[::-1]]))
        shaded = {"fill": "toself", "fillcolor": shade(VALIDATION, 0.15), "line": {"width": 0}}
        yield line | shaded | {"x": there_and_back}
        yield line | {"line": {"color": VALIDATION, "width": 2.5}, "x": short(x)}
        yield line | {"line": {"color": shade(BEST, 0.35), "width": 8}}
        for points in self.points:
            yield (self.canvas.zero_at() if points.zero else main) | {
                "x": points.x,
                "mode": "markers",
                "marker": points.marker,
                "cliponaxis": False,
                "name": points.name,
                "showlegend": False,
                "customdata": [*map(self._told, points.places)],
                "hovertemplate": "%{customdata[0]}<br>%{customdata[1]}<br>%{customdata[2]}<extra></extra>",
            }
        ring = {"color": VALIDATION, "size": 15, "symbol": "circle-open", "line": {"width": 2.5}}
        star = {"color": BEST, "size": 13, "symbol": "star"}
        for name, marker in (("newest fit", ring), ("best λ so far, 95 % interval", star)):
            for zero in self._places:
                quiet = {"name": name, "showlegend": False, "hoverinfo": "skip", "cliponaxis": False}
                yield (self.canvas.zero_at() if zero else main) | {"mode": "markers", "marker": marker} | quiet

    def changes(self, step: Step) -> Iterator[dict[str, Any]]:
        """What a step's traces have, in the same order."""
        least = 1e-9 if self.t.metric.kind == "positive" else -math.inf
        if step.mean is None or step.band is None or step.best is None:
            yield from ({"y": []}, {"y": []}, _one())
        else:
            low, high = step.band
            yield {"y": short(np.concatenate([high, np.maximum(low, least)[::-1]]))}
            yield {"y": short(step.mean)}
            ends = np.clip(step.interval, self.course.strengths[0], None)
            bar = {"x": short(ends), "y": short([step.best_value] * 2)}
            yield bar if step.interval[1] > 0 else _one()
        count = len(step.seen.cost)
        for points in self.points:
            yield {"y": points.until(count)}
        newest = next((points, points.places.index(count - 1)) for points in self.points if count - 1 in points.places)
        for zero in self._places:
            points, at = newest
            yield _one(points.x[at], points.y[at]) if points.zero == zero else _one()
        for zero in self._places:
            if step.best is None or (step.best == 0) != zero:
                yield _one()
            else:
                yield _one(*short([step.best if not zero else 0.0, step.best_value]))

    @property
    def _places(self) -> tuple[bool, ...]:
        """Whether at λ = 0, of the axes that there are."""
        return (False, True) if any(points.zero for points in self.points) else (False,)

    def _told(self, place: int) -> list[str]:
        """Of a fit, when the pointer is on it: λ, fold and trial, score."""
        seen, metric = self.course.steps[-1].seen, self.t.metric
        strength, cost = float(seen.strength[place]), float(seen.cost[place])
        score = f"{metric_name(metric)} {amount(metric.score(cost), metric)}" if math.isfinite(cost) else "diverged"
        where = "λ 0" if strength == 0 else f"λ {strength:.4g} ({own_number(self.t.record.parameter, strength)})"
        return [where, f"fold {seen.fold[place] + 1}, trial {seen.trial[place] + 1}", for_plotly(score)]


def _one(*place: float) -> dict[str, Any]:
    return {"x": [*place[:1]], "y": [*place[1:]]}


def _view(t: Estimates) -> tuple[float, float]:
    """Lowest and highest cost that all steps show: from the best fold to somewhat above λ = 0, and most of the fits."""
    metric, costs = t.metric, t.record.observations.cost
    finite = costs[np.isfinite(costs)]
    best, error = metric.cost(t.best_value), t.best_standard_error
    level = best if t.baseline_value is None else metric.cost(t.baseline_value)
    width = max(level - best, 3 * error if math.isfinite(error) else 0.0, 0.0)
    low, top = min(best, float(finite.min())), max(level, best) + 0.75 * width
    top = max(top, float(np.quantile(finite, 0.75)))
    margin = max(0.08 * (top - low), 1e-6 * max(abs(top), abs(low)), 1e-12)  # all may be equal
    measured = metric.kind == "proportion" or (metric.kind == "positive" and not metric.maximize)
    return max(0.0, low - margin) if measured else low - margin, top + margin
