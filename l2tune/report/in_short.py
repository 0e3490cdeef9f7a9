"""A study in five lines of text, and as a small picture for a notebook, without scripts or anything from outside."""

from __future__ import annotations

import html
import math

import numpy as np

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import verdict
from l2tune.analysis.wording import amount, percentage
from l2tune.penalty.strength import format_lambda
from l2tune.report.canvas import BLUE, GREEN, GREY, VERMILION
from l2tune.report.labels import has_own, metric_title, own_name, own_written
from l2tune.terminal_text import one_line

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 240, 56, 36


def in_five_lines(t: Estimates) -> str:
    """Of which study, λ_best and λ_1se, the score there, and what regularizing gained."""
    record, metric = t.record, t.metric
    lines = [f"Tradeoff of study {record.name!r}: {metric.name}, {record.folds} folds, {_fits(t)} fits"]
    if t.curve is None or not len(record.observations.tried):
        return one_line(lines[0]) + "\n" + one_line(f"  {verdict(t)}")
    low, high = t.interval
    error = f" ± {amount(t.best_standard_error, metric, unit=False)}" if math.isfinite(t.best_standard_error) else ""
    lines += [
        f"  λ_best {_both(t, t.best_lambda)} (95 %: {format_lambda(low)} to {format_lambda(high)})",
        f"  λ_1se {_both(t, t.one_se_lambda)}",
        f"  {metric.name} {amount(t.best_value, metric)}{error} at λ_best{'' if t.complete else ' (by the curve)'}",
    ]
    if t.baseline_value is not None:
        gained = f", {percentage(t.relative_gain)} better" if t.relative_gain and t.relative_gain > 0 else ""
        lines.append(f"  without {amount(t.baseline_value, metric)}{gained}")
    return "\n".join(map(_line, lines))


def _both(t: Estimates, strength: float) -> str:
    """λ, and the number beside it that goes into code."""
    parameter = t.record.parameter
    own = f", {own_name(parameter)} {own_written(parameter, strength)}" if has_own(parameter) else ""
    return format_lambda(strength) + own


def as_html(t: Estimates) -> str:
    """The verdict above the curve, as HTML with an SVG in it."""
    text = html.escape(verdict(t))
    return f'<div style="max-width:{_WIDTH}px"><p>{text}</p>{curve_svg(t)}</div>'


def curve_svg(t: Estimates) -> str:
    """The curve of the validation metric over λ with its standard error, the λ tried, λ_best and its interval.

    Empty where there is no curve.
    """
    curve, metric = t.curve, t.metric
    if curve is None or not len(t.record.observations.tried):
        return ""
    strengths = np.geomspace(curve.low, curve.high, 121)
    mean, error = curve.mean(strengths), curve.standard_error(strengths)
    shown = t.strengths[t.strengths["complete"] & (t.strengths["lambda"] > 0)]
    costs = metric.cost(shown["validation"].to_numpy(float))
    lowest = float(min((mean - error).min(), *costs))
    highest = float(
        min(max((mean + error).max(), *costs), lowest + 6 * (float(np.median(mean)) - lowest + error.min()))
    )

    inside = mean <= highest
    strengths, mean, error = strengths[inside], mean[inside], error[inside]
    shown, costs = shown[costs <= highest], costs[costs <= highest]

    def across(strength: float) -> float:
        share = math.log(strength / curve.low) / math.log(curve.high / curve.low)
        return _LEFT + min(1.0, max(0.0, share)) * (_WIDTH - _LEFT - 12)

    def down(cost: float) -> float:
        share = (min(max(cost, lowest), highest) - lowest) / ((highest - lowest) or 1.0)
        share = 1 - share if metric.maximize else share
        return 12 + (1 - share) * (_HEIGHT - _BOTTOM - 12)

    def line(values: np.ndarray, order: int = 1) -> str:
        pairs = list(zip(strengths, values, strict=True))[::order]
        return " ".join(f"{across(strength):.1f},{down(value):.1f}" for strength, value in pairs)

    floor = _HEIGHT - _BOTTOM
    left, right = (across(min(max(end, curve.low), curve.high)) for end in t.interval)
    parts = [
        f'<rect x="{left:.1f}" y="12" width="{max(1.0, right - left):.1f}" height="{floor - 12}" fill="{GREEN}" '
        'fill-opacity="0.15"><title>95 % interval of λ_best</title></rect>',
        f'<polygon points="{line(mean - error)} {line(mean + error, -1)}" fill="{BLUE}" fill-opacity="0.2"/>',
        f'<polyline points="{line(mean)}" fill="none" stroke="{BLUE}" stroke-width="2"/>',
    ]
    for strength, cost in zip(shown["lambda"], costs, strict=True):
        said = f"λ {format_lambda(strength)}: {amount(metric.score(float(cost)), metric)}"
        x, y = across(float(strength)), down(float(cost))
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{BLUE}"><title>{html.escape(said)}</title></circle>'
        )
    if t.best_lambda > 0:
        x = across(t.best_lambda)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="12" y2="{floor}" stroke="{VERMILION}" stroke-width="1.5"/>')
    for exponent in range(math.ceil(math.log10(curve.low)), math.floor(math.log10(curve.high)) + 1):
        x = across(10.0**exponent)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}" stroke="{GREY}"/>')
        parts.append(_text(x, floor + 18, f"1e{exponent}", "middle"))
    ends = {cost: amount(metric.score(cost), metric, unit=False) for cost in (lowest, highest)}
    parts += [_text(_LEFT - 6, down(cost) + 4, text, "end") for cost, text in ends.items()]
    parts.append(_text(_WIDTH - 12, _HEIGHT - 3, "λ", "end"))
    parts.append(_text(_LEFT + 6, 22, f"validation {metric_title(metric)}", "start"))
    axes = f'<path d="M{_LEFT},12 V{floor} H{_WIDTH - 12}" fill="none" stroke="{GREY}"/>'
    title = html.escape(f"validation {metric.name} over λ; λ_best {format_lambda(t.best_lambda)}")
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" style="max-width:100%;height:auto" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="12"><title>{title}</title>'
        f"{axes}{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{html.escape(text)}</text>'


def _fits(t: Estimates) -> int:
    fits = t.record.fits
    return int((~fits["reused"] & ~fits["truncated"]).sum())


def _line(text: str) -> str:
    """With its indent, and no sign that steers a terminal."""
    return " " * (len(text) - len(text.lstrip())) + one_line(text)
