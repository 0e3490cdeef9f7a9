"""Colours: text of each can be read on light and on dark pages, and marks are seen on both."""

from __future__ import annotations

from itertools import combinations

import pytest

from l2tune.report import colors

PAGES = {"light": ("#ffffff", "#f5f6f8"), "dark": ("#15171a", "#1f2226", "#000000")}


def luminance(color: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("color", sorted({*colors.MEANINGS.values(), *colors.NAMES}))
def test_text_has_a_contrast_of_four_and_a_half(color: str) -> None:
    for scheme, shown in (("light", colors.on_light(color)), ("dark", colors.on_dark(color))):
        for page in PAGES[scheme]:
            assert contrast(shown, page) >= 4.5, (scheme, page, contrast(shown, page))


def test_what_is_seen_beside_each_other_differs() -> None:
    for first, second in combinations(("validation", "training", "baseline", "best", "overfits", "underfits"), 2):
        assert colors.MEANINGS[first] != colors.MEANINGS[second]
    assert len(set(colors.NAMES)) == len(colors.NAMES)


def test_a_shade_is_the_color_made_transparent() -> None:
    assert colors.shade(colors.VALIDATION, 0.15) == "rgba(0,114,178,0.15)"
