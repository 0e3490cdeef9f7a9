"""How the pages look in a real browser, measured, for studies of every kind, at the widths of a desk and a phone."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import optuna
import pytest
from playwright.sync_api import Browser, Page

from l2tune.analysis.comparison import Comparison
from l2tune.analysis.estimates import Estimates
from l2tune.metrics import Metric
from l2tune.records.refits import RefitRecord, write_refit
from l2tune.records.tables import read_study
from l2tune.report.comparison_page import render as render_comparison
from l2tune.report.html import render
from l2tune.tradeoff import Tradeoff

LOOKS = (Path(__file__).parent / "looks.js").read_text(encoding="utf-8")
KINDS = ("searched", "flat", "diverged", "error", "own metric", "own parameter", "l1", "no baseline", "comparison")
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def pages(
    make_valley: Callable[..., optuna.Study],
    make_own: Callable[..., optuna.Study],
    make_study: Callable[..., optuna.Study],
) -> Callable[[str], str]:
    """The page of a kind of study; each is made once."""
    made: dict[str, str] = {}
    makers: dict[str, Callable[[], optuna.Study]] = {
        "searched": lambda: make_valley(fold_limit=lambda s: 2 if s > 0.01 else 5, name="digits"),
        "flat": lambda: make_study(
            lambda s: 0.1, lambda s: 0.05, strengths=(0.0, *map(float, np.geomspace(1e-6, 0.1, 6))), name="flat"
        ),
        "diverged": lambda: make_valley(diverged=lambda s: True, name="diverged"),
        "error": lambda: make_valley(metric="error", name="by error"),
        "own metric": lambda: make_own(Metric("psnr", maximize=True, kind="positive", unit="dB"), name="denoising"),
        "own parameter": lambda: make_own("mse", parameter="C", name="ridge"),
        "l1": lambda: make_valley(settings={"penalty": "l1", "lambda_range": (1e-6, 1.0)}, name="sparse"),
        "no baseline": lambda: make_valley(strengths=(1e-4, 1e-3, 1e-2), name="no baseline"),
    }

    def page(kind: str) -> str:
        if kind not in made:
            made[kind] = (
                render_comparison(comparison(make_study))
                if kind == "comparison"
                else render(Tradeoff.from_study(makers[kind]()))
            )
        return made[kind]

    return page


def comparison(make_study: Callable[..., optuna.Study]) -> Comparison:
    sides = {}
    for form, share in (("l2", 0.0), ("l1", 0.8), ("elastic", 0.5)):
        study = make_study(
            lambda s: 0.1 + s,
            lambda s: 0.01 + s,
            settings={"penalty": form, "lambda_range": (1e-6, 1.0)},
            zeros=lambda s, share=share: share if s else 0.0,
            name=f"forms-{form}",
        )
        for strength in (0.0, 1e-4, 1e-3):
            numbers = {"test_loss": 0.2, "test_error": 0.05, "calibration_error": 0.01, "parameters": 99, "nonzero": 66}
            write_refit(study, RefitRecord(strength, 0, layers={}, **numbers))
        sides[form] = Estimates.from_record(read_study(study))
    return Comparison("forms", sides)


@pytest.fixture
def opened(browser: Browser, pages: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Open the page of a kind of study; at the end, its console must have been silent."""
    contexts, said = [], []

    def open_page(kind: str, *, width: int = 1280, dark: bool = False) -> Page:
        look = PHONE if width == 390 else {"viewport": {"width": width, "height": 800}}
        context = browser.new_context(**look, color_scheme="dark" if dark else "light", offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        file = tmp_path / "page.html"
        file.write_text(pages(kind), encoding="utf-8")
        page.goto(file.as_uri())
        page.evaluate(LOOKS)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def until(page: Page, condition: str) -> None:
    """Wait until it holds; Playwright's own waiting would evaluate text, which the page's policy forbids."""
    for _ in range(100):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(condition)


@pytest.mark.parametrize("widths", [(1280, 800), (390,)], ids=["desk", "phone"])
@pytest.mark.parametrize("kind", KINDS)
def test_texts_keep_apart_and_stand_out(opened: Callable[..., Page], kind: str, widths: tuple[int, ...]) -> None:
    page = opened(kind, width=widths[0])
    for width in widths:
        if width != widths[0]:
            page.set_viewport_size({"width": width, "height": 800})
            until(page, "[...document.querySelectorAll('.figure')].every(e => e._fullLayout.width === e.clientWidth)")
        assert page.evaluate("looks.texts()") > 50, "so that this tests something"
        assert page.evaluate("looks.overlaps()") == []
        assert page.evaluate("looks.faint(4.5)") == []
        assert page.evaluate("looks.outside()") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.emulate_media(color_scheme="dark")
    until(page, "getComputedStyle(document.body).backgroundColor !== 'rgb(255, 255, 255)'")
    assert page.evaluate("looks.faint(4.5)") == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("kind", ["searched", "flat", "own parameter", "l1"])
def test_the_first_screen_answers(opened: Callable[..., Page], kind: str, width: int) -> None:
    page = opened(kind, width=width)
    height = 844 if width == 390 else 800
    large = page.locator(".value b")
    assert float(large.evaluate("e => parseFloat(getComputedStyle(e).fontSize)")) >= 60
    for text in ("95 % credible interval", "Gain over λ = 0"):
        box = page.locator("dt", has_text=text).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < height
    plot = page.locator("#tradeoff .nsewdrag").first.bounding_box()
    assert plot is not None
    assert plot["y"] + 0.8 * plot["height"] < height, "the valley is seen"


def test_all_is_reached_by_keyboard_and_seen_to_be(opened: Callable[..., Page]) -> None:
    page = opened("searched")
    wanted = page.evaluate("[...document.querySelectorAll('a, button, input, [tabindex]')].length")
    seen = set()
    for _ in range(wanted):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate(
                """() => {
                    const element = document.activeElement, style = getComputedStyle(element);
                    const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1;
                    return [[...document.querySelectorAll('*')].indexOf(element), seen].join();
                }"""
            )
        )
    assert len(seen) == wanted
    assert all(place.endswith("true") for place in seen)


@pytest.mark.parametrize("kind", ["searched", "diverged", "comparison"])
def test_headings_go_down_one_by_one(opened: Callable[..., Page], kind: str) -> None:
    page = opened(kind)
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.evaluate("document.documentElement.lang") == "en"


def test_a_table_sorts_by_its_heads_and_is_copied(opened: Callable[..., Page]) -> None:
    page = opened("searched")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    head = page.locator("#every-strength th", has_text="validation")
    cells = "all => all.map(row => row.cells[3].textContent)"

    def column() -> list[float]:
        return [float(text) for text in page.eval_on_selector_all("#every-strength tbody tr", cells)]

    before = column()
    head.first.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.first.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(before) != before
    page.keyboard.press("Enter")
    assert column() == sorted(before, reverse=True)
    assert head.first.get_attribute("aria-sort") == "descending"
    page.locator("[data-table=every-strength]").click()
    page.wait_for_selector("text=Copied")
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[0].split("\t")[:3] == ["λ", "weight decay", "folds of 5"]
    assert [float(line.split("\t")[3]) for line in lines[1:]] == column()


def test_the_code_is_copied(opened: Callable[..., Page]) -> None:
    for kind, start in (
        ("searched", "import l2tune\ngroups = l2tune.parameter_groups(model, "),
        ("own parameter", "C="),
    ):
        page = opened(kind)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy the code").click()
        page.wait_for_selector("text=Copied")
        assert page.evaluate("navigator.clipboard.readText()").startswith(start)


def test_the_search_is_replayed_by_keyboard(opened: Callable[..., Page]) -> None:
    page = opened("searched")
    last = page.text_content("#replay-frame") or ""
    stars = "() => [...document.querySelectorAll('#replay .points path')].length"
    drawn = page.evaluate(stars)
    assert re.match(r"Fit (\d+) of \1: λ ", last)
    page.locator("[data-frames=replay]").focus()
    page.keyboard.press("ArrowLeft")
    assert last != page.text_content("#replay-frame") != ""
    page.keyboard.press("Home")
    assert (page.text_content("#replay-frame") or "").startswith("Fit 1 of ")
    assert page.evaluate(stars) < drawn
    assert page.get_attribute("[data-frames=replay]", "aria-valuetext") == "fit 1"


def test_points_of_a_column_stand_below_one_another(opened: Callable[..., Page]) -> None:
    page = opened("searched")
    places = page.evaluate(
        """() => [...document.querySelectorAll('td.number')].filter(cell => /[.]/.test(cell.textContent)).map(cell => {
            const node = cell.firstChild, range = document.createRange();
            range.setStart(node, node.data.indexOf('.'));
            range.setEnd(node, node.data.indexOf('.') + 1);
            return [cell.closest('table').id + cell.cellIndex, Math.round(range.getBoundingClientRect().left)];
        })"""
    )
    columns: dict[str, set[int]] = {}
    for column, left in places:
        columns.setdefault(column, set()).add(left)
    assert len(columns) > 10
    assert all(max(lefts) - min(lefts) <= 1 for lefts in columns.values())


def test_it_prints_on_four_pages_in_light_colours(opened: Callable[..., Page]) -> None:
    page = opened("searched", dark=True)
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))) <= 4
    ink = "getComputedStyle(document.querySelector('#gap .ytick text')).fill"
    shades = []
    for event in ("beforeprint", "afterprint"):
        page.evaluate(f"dispatchEvent(new Event('{event}'))")
        shades.append(sum(map(int, re.findall(r"\d+", page.evaluate(ink))[:3])) / 3)
    assert shades[0] < 80 < 180 < shades[1]


@pytest.mark.parametrize("kind", ["searched", "comparison"])
def test_a_figure_without_room_says_nothing_on_the_console(opened: Callable[..., Page], kind: str) -> None:
    page = opened(kind)  # a browser that changes its window may draw in between
    squeezed = page.evaluate(
        """async () => {
            const figures = [...document.querySelectorAll('.figure')];
            for (const width of [40, 20])
                for (const figure of figures) await Plotly.relayout(figure, {width, autosize: false});
            return figures.length;
        }"""
    )
    assert squeezed > 4


def test_a_report_is_small(pages: Callable[[str], str]) -> None:
    for kind in KINDS:
        assert len(pages(kind).encode()) < 1.5e6, kind
