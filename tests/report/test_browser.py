"""The report in a real browser: Debian's or any other Chromium, headless."""

import re
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from playwright.sync_api import Browser, Page

from l2tune.analysis.comparison import Comparison
from l2tune.analysis.estimates import Estimates
from l2tune.metrics import Metric
from l2tune.records.tables import read_study
from l2tune.report.comparison_files import write_comparison
from l2tune.tradeoff import Tradeoff

FIGURES = {"tradeoff", "gap", "bias_variance", "learning", "weights", "network", "replay"}


@pytest.fixture(scope="module")
def report(make_valley: Callable[..., optuna.Study], tmp_path_factory: pytest.TempPathFactory) -> str:
    study = make_valley(fold_limit=lambda s: 2 if s > 0.01 else 5)
    folder = tmp_path_factory.mktemp("report")
    return Tradeoff.from_study(study).report(folder)[0].as_uri()


def opened(
    browser: Browser, url: str, *, width: int = 1100, dark: bool = False, figures: int = 6
) -> tuple[Page, list[str]]:
    """A page without a network, and what its console says."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(url)
    page.wait_for_function(f"document.querySelectorAll('.figure .main-svg').length >= {2 * figures}")
    return page, said


def brightness(page: Page, selector: str, attribute: str) -> float:
    color = page.eval_on_selector(selector, f"element => getComputedStyle(element).{attribute}")
    return sum(map(float, re.findall(r"[\d.]+", color)[:3])) / 3


def test_all_figures_are_drawn_without_a_word_on_the_console(browser: Browser, report: str) -> None:
    page, said = opened(browser, report)
    drawn = page.eval_on_selector_all(".figure", "all => all.filter(e => e.querySelector('.trace')).map(e => e.id)")
    assert set(drawn) == FIGURES
    assert said == []


def test_hovering_over_a_point_names_its_fold(browser: Browser, report: str) -> None:
    page, _ = opened(browser, report)
    points = page.locator("#tradeoff .subplot.xy .points path")
    page.locator("#tradeoff .nsewdrag").first.scroll_into_view_if_needed()
    box = points.nth(2).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#tradeoff .hovertext")
    assert re.search(r"fold \d, trial \d+", page.text_content("#tradeoff .hoverlayer") or "")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_the_page(browser: Browser, report: str, dark: bool) -> None:
    page, _ = opened(browser, report, dark=dark)
    background = brightness(page, "body", "backgroundColor")
    assert (background < 60) if dark else (background > 200)
    for selector, attribute in (("body", "color"), ("#gap .ytick text", "fill"), ("p.note", "color")):
        assert abs(brightness(page, selector, attribute) - background) > 100, selector


def test_a_phone_need_not_scroll_sideways(browser: Browser, report: str) -> None:
    page, said = opened(browser, report, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    widths = page.eval_on_selector_all(".figure .main-svg", "all => all.map(e => e.getBoundingClientRect().right)")
    assert max(widths) <= 390
    assert said == []


@pytest.mark.parametrize("width", [390, 1280])
def test_a_comparison_is_drawn_and_fits(
    browser: Browser, make_study: Callable[..., optuna.Study], tmp_path: Path, width: int
) -> None:
    sides = {}
    for form, zeros in (("l2", 0.0), ("l1", 0.8)):
        study = make_study(
            lambda s: 0.1 + s,
            lambda s: 0.01 + s,
            settings={"penalty": form, "lambda_range": (1e-6, 1.0)},
            zeros=lambda s, share=zeros: share if s else 0.0,
        )
        sides[form] = Estimates.from_record(read_study(study))
    page, said = opened(
        browser, write_comparison(Comparison("both", sides), tmp_path)[0].as_uri(), width=width, figures=8
    )
    drawn = page.eval_on_selector_all(".figure", "all => all.filter(e => e.querySelector('.trace')).map(e => e.id)")
    assert set(drawn) == {"curves", "norm", "zeros", "layers-0", "weights-best", "weights-one_se", "smoothness", "bias"}
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []


HOSTILE = "<a href='http://y.org'>x</a> %{y} <b>"


def test_names_are_text_in_figures_and_tables(
    browser: Browser, make_own: Callable[..., optuna.Study], tmp_path: Path
) -> None:
    study = make_own(Metric(HOSTILE), name=HOSTILE, parameter=HOSTILE, scale="C", extra=lambda s: {HOSTILE + "2": s})
    page, said = opened(browser, Tradeoff.from_study(study).report(tmp_path)[0].as_uri(), figures=2)
    assert said == []
    assert page.locator("a[href*='y.org'], .figure [*|href*='y.org']").count() == 0
    assert HOSTILE[:20] in (page.text_content("#tradeoff .infolayer") or "")
    page.locator("#tradeoff").scroll_into_view_if_needed()
    plot = page.locator("#tradeoff .nsewdrag").first.bounding_box()
    boxes = [point.bounding_box() for point in page.locator("#tradeoff .subplot.xy .points path").all()]
    assert plot is not None
    centers = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes if box]
    x, y = next(
        (x, y)
        for x, y in centers
        if plot["x"] + 5 < x < plot["x"] + plot["width"] - 5 and plot["y"] + 5 < y < plot["y"] + plot["height"] - 5
    )
    page.mouse.move(x, y)
    page.wait_for_selector("#tradeoff .hovertext")
    assert HOSTILE in (page.text_content("#tradeoff .hoverlayer") or "")
    assert page.locator("#tradeoff .hoverlayer a").count() == 0
