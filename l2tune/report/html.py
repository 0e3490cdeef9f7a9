"""`report.html`: one self-contained page that opens offline."""

from __future__ import annotations

from l2tune.analysis.code_to_paste import CodeToPaste, code_to_paste
from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import findings
from l2tune.analysis.wording import count
from l2tune.records.tables import StudyRecord
from l2tune.report import page_tables
from l2tune.report.again import again, known_trainer
from l2tune.report.captions import CAPTIONS
from l2tune.report.figures import FIGURES, drawn
from l2tune.report.first_screen import first_screen
from l2tune.report.labels import metric_title
from l2tune.report.page import FigurePart, Section, render_page


def render(t: Estimates) -> str:
    """The whole page. Names from the data and the study are escaped; scripts come from this package alone."""
    record, found = t.record, tuple(findings(t))
    figures = {name: part for name in FIGURES if (part := _figure(t, name)) is not None}
    sections = (
        Section("real", "Is it real?", findings=found),
        Section("sides", "Left and right of the best λ", figures=_of(figures, "gap", "bias_variance", "learning")),
        Section("network", "What λ does", figures=_of(figures, "weights", "network")),
        Section("search", "How the search went", figures=_of(figures, "replay"), tables=[page_tables.search(t)]),
        Section("numbers", "Every number", tables=[page_tables.by_strength(t), page_tables.by_fold(t)]),
    )
    return render_page(
        "report.html.j2",
        name=record.name,
        title="how strongly to regularize",
        about=[metric_title(t.metric), count(record.folds, "fold"), count(len(record.trials), "trial")],
        first=first_screen(t, found),
        curve=figures.get("tradeoff"),
        sections=sections,
        use=_use(t),
        again=again(record),
        origin=_origin(record),
    )


_TITLES = {
    "tradeoff": "Validation over λ",
    "gap": "Overfitting and underfitting",
    "bias_variance": "Bias and variance",
    "learning": "Learning curves",
    "weights": "The weights",
    "network": "The network",
    "replay": "Fit by fit",
}
"""Title of each."""

_NOTES = {
    "gap": (
        "Overfit: by how much validation is worse than training. Underfit: by how much training is worse than at the "
        "λ that fits the training images best. Points are folds; filled circles are means over all folds, open ones "
        "what is expected over all folds where some are missing."
    ),
    "bias_variance": (
        "Every fold's network predicts the same test images: bias is the loss of their central prediction, variance "
        "what they differ by (Yang et al., 2020; Domingos, 2000). The folds share training images, so the variance "
        "over entirely new images is larger than shown."
    ),
    "learning": (
        "One line for each λ, in the colour of its regime; thick: the best λ, broken: λ = 0. Faint lines lack folds, "
        "and may be of easy ones."
    ),
    "weights": "Means over all folds; open circles are expected, where folds are missing.",
    "network": (
        "On the test images. A lower input gradient is a smoother network. Filled circles are means over all folds, "
        "open ones expected."
    ),
}
"""How to read each."""


def _figure(t: Estimates, name: str) -> FigurePart | None:
    figure = drawn(t, name)
    if figure is None:
        return None
    told = _tradeoff_note(t) if name == "tradeoff" else _NOTES.get(name) or (figure.layout.meta or {}).get("note", "")
    return FigurePart(name, _TITLES[name], figure, told, CAPTIONS[name](t))


def _of(figures: dict[str, FigurePart], *names: str) -> list[FigurePart]:
    return [figures[name] for name in names if name in figures]


def _tradeoff_note(t: Estimates) -> str:
    zero = "" if t.baseline_value is None else "Dotted: λ = 0. "
    return (
        f"{zero}Shaded: where the network overfits, is balanced (within one standard error of the best) and underfits. "
        "Where a curve leaves the picture the network is far worse than at the best λ."
    )


def _use(t: Estimates) -> CodeToPaste | None:
    """The code that trains with λ_best as the search did."""
    if t.curve is None or not len(t.record.observations.tried):
        return None
    return code_to_paste(t.record, t.best_lambda)


def _origin(record: StudyRecord) -> str:
    """Versions, and what is known of how and on what was trained."""
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    told = {} if record.trained_by == "function" else known_trainer(record)
    how = ("engine", "device", "precision", "threads", "side_by_side", "parameters")
    facts = {k: v for k, v in told.items() if k in how}
    facts |= {k: record.data[k] for k in ("name", "images", "shape", "fingerprint") if record.data.get(k) is not None}
    known = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in facts.items())
    return ". ".join(part for part in (versions, known) if part)


def _plain(value: object) -> str:
    return " × ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
