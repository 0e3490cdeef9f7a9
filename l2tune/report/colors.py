"""One colour per meaning, the same in every figure, on the page, in the dashboard and in the terminal.

The marks are Okabe and Ito's palette (Color Universal Design, 2008), told apart with any colour vision. As text most of
them are too faint on white and some on black: `on_light` and `on_dark` are the same hues with a contrast of 4.5 or more
(WCAG 2, level AA).

>>> on_light(BEST), on_dark(VALIDATION)
('#007a59', '#4aa3df')
"""

from __future__ import annotations

from collections.abc import Mapping

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#7f7f7f"

VALIDATION = BLUE
TRAINING = ORANGE
BASELINE = GREY
"""λ = 0."""
BEST = GREEN
"""λ_best and its interval, and λ_1se, which is as good."""
BALANCED = GREEN
"""Within one standard error of the best."""
OVERFITS = VERMILION
UNDERFITS = PURPLE
VARIANCE = OVERFITS
"""What overfitting is, seen from the networks' predictions."""
BIAS = UNDERFITS
NETWORK = SKY
"""What else the networks are like."""

MEANINGS: Mapping[str, str] = {
    "validation": VALIDATION,
    "training": TRAINING,
    "baseline": BASELINE,
    "best": BEST,
    "balanced": BALANCED,
    "overfits": OVERFITS,
    "underfits": UNDERFITS,
    "variance": VARIANCE,
    "bias": BIAS,
    "network": NETWORK,
}
"""By name."""

NAMES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY)
"""Of what has a name and no meaning of ours, layers for instance: told apart by dash and marker too."""

_ON_LIGHT: Mapping[str, str] = {
    BLUE: "#0072b2",
    ORANGE: "#8f6200",
    GREEN: "#007a59",
    VERMILION: "#b34f00",
    PURPLE: "#a3487b",
    SKY: "#1d75ab",
    GREY: "#666666",
}
_ON_DARK: Mapping[str, str] = {
    BLUE: "#4aa3df",
    ORANGE: "#e69f00",
    GREEN: "#1cb58a",
    VERMILION: "#f0803c",
    PURPLE: "#d892b8",
    SKY: "#56b4e9",
    GREY: "#a0a0a0",
}


def on_light(color: str) -> str:
    """The colour of text of this meaning on white or nearly white."""
    return _ON_LIGHT[color]


def on_dark(color: str) -> str:
    """The colour of text of this meaning on black or nearly black."""
    return _ON_DARK[color]


def shade(color: str, opacity: float) -> str:
    """The colour, as transparent as this, as CSS and plotly write it."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
