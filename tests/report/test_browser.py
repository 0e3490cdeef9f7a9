"""The report and the dashboard in a real browser: Debian's or any other Chromium, headless."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import optuna
import pytest
from playwright.sync_api import Browser, Page

from l2tune.analysis.comparison import Comparison
from l2tune.analysis.estimates import Estimates
from l2tune.metrics import Metric
from l2tune.objectives.pareto import TradeoffObjective
from l2tune.records.tables import read_study
from l2tune.report.comparison_files import write_comparison
from l2tune.report.dashboard import publish
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


@contextmanager
def dashboard(storage: str, folder: Path) -> Iterator[str]:
    """The address of the first study in `l2tune dashboard`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "l2tune", "dashboard", "--storage", storage, "--port", str(port)]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/dashboard/studies/1"
    try:
        for _ in range(120):
            try:
                urlopen(address, timeout=5).close()
                break
            except URLError:
                time.sleep(0.25)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def test_the_dashboard_shows_the_note_and_the_figures(
    browser: Browser, make_valley: Callable[..., optuna.Study], tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path}/l2tune.db"
    study = make_valley(storage=storage)
    publish(study, Tradeoff.from_study(study))
    with dashboard(storage, tmp_path) as address:
        page = browser.new_context(viewport={"width": 1400, "height": 1200}).new_page()
        page.goto(address)
        page.wait_for_selector("text=overfit: validation − training")
        page.wait_for_selector("text=line: expected, with 95 % band")
        assert page.locator(".main-svg >> text=best λ").count() >= 2
        page.goto(f"{address}/note")
        page.wait_for_selector("text=95 % credible interval")
        assert "weight_decay=" in page.inner_text("body")


def test_the_dashboard_s_note_shows_names_as_they_are(
    browser: Browser, make_own: Callable[..., optuna.Study], tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path}/l2tune.db"
    name = "[x](http://y.org) <b>f1</b> $z$"
    study = make_own(Metric(name), parameter=name, scale="C", strengths=(0.0, 1e-3, 1e-2, 1e-1))
    optuna.copy_study(
        from_study_name=study.study_name, from_storage=study._storage, to_storage=storage, to_study_name="s"
    )
    kept = optuna.load_study(study_name="s", storage=storage)
    publish(kept, Tradeoff.from_study(kept))
    with dashboard(storage, tmp_path) as address:
        page = browser.new_context(viewport={"width": 1400, "height": 1200}).new_page()
        page.goto(f"{address}/note")
        page.wait_for_selector("text=one-SE")
        [text] = [text for text in page.locator("th").all_text_contents() if "f1" in text]
        assert text.replace("\u2060", "") == name
        assert page.locator("a[href*='y.org']").count() == 0


def test_the_dashboard_shows_the_pareto_front_of_underfit_and_overfit(browser: Browser, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/l2tune.db"
    study = optuna.create_study(storage=storage, directions=["minimize", "minimize"])

    def fit(strength: float, fold: int, seed: int) -> dict[str, float]:
        train = 0.01 + 2 * strength
        return {"train_loss": train, "val_loss": train + 0.3 / (1 + 1e3 * strength) + 0.01 * fold}

    study.optimize(TradeoffObjective(fit=fit, folds=3), n_trials=6)
    assert len(study.best_trials) > 1
    with dashboard(storage, tmp_path) as address:
        page = browser.new_context(viewport={"width": 1400, "height": 1200}).new_page()
        page.goto(address)
        page.wait_for_selector("text=Pareto")
        page.wait_for_selector(".main-svg >> text=underfit: training loss")
        page.wait_for_selector(".main-svg >> text=overfit: validation − training loss")


def test_the_dashboard_s_own_page_may_write_and_another_may_not(browser: Browser, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/l2tune.db"
    for name in ("first", "second"):
        optuna.create_study(storage=storage, study_name=name)
    send = "([url, method, body, mode]) => fetch(url, {method, body, mode}).then(a => a.status, () => 'no answer')"
    with dashboard(storage, tmp_path) as address:
        root = address.removesuffix("/dashboard/studies/1")
        evil = tmp_path / "evil.html"
        evil.write_text(f"<form method=post action='{root}/api/studies/1/rename' enctype=text/plain></form>")
        page = browser.new_context().new_page()
        page.goto(evil.as_uri())
        stolen = '{"study_name": "stolen"}'
        assert page.evaluate(send, [f"{root}/api/studies/1/rename", "POST", stolen, "no-cors"]) == "no answer"
        with page.expect_response("**/rename") as answered:
            page.evaluate("document.forms[0].submit()")
        assert answered.value.status == 403
        page.wait_for_load_state()  # of the refusal
        assert optuna.get_all_study_names(storage) == ["first", "second"]

        page.goto(f"{address}/note")
        page.get_by_role("button").nth(5).click()  # the pencil
        page.locator("textarea").first.fill("a note of mine")
        page.get_by_role("button", name="Save").click()
        page.wait_for_selector("p >> text=a note of mine")
        page.reload()
        page.wait_for_selector("p >> text=a note of mine")
        assert page.evaluate(send, [f"{root}/api/studies/2", "DELETE", "{}", "same-origin"]) == 204
        assert optuna.get_all_study_names(storage) == ["first"]
