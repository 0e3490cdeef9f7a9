"""The dashboard in a real browser: `l2tune dashboard` as it is, looked at with Debian's or any other Chromium."""

import os
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

from l2tune.metrics import Metric
from l2tune.objectives.pareto import TradeoffObjective
from l2tune.report.dashboard import publish
from l2tune.report.pictures import STILL
from l2tune.report.publisher import DashboardPublisher
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]
LOOKS = (Path(__file__).parent / "looks.js").read_text(encoding="utf-8")
CARD = "user-defined-plot:l2tune-"
CARDS = f'[id^="{CARD}"]'
UNDER_THE_TOOL_BAR = f"""() => [...document.querySelectorAll('{CARDS}')].flatMap(card => {{
  const bar = card.querySelector('.modebar').getBoundingClientRect();
  return [...card.querySelectorAll('svg text')].filter(text => {{
    const box = text.getBoundingClientRect();
    return box.left < bar.right && bar.left < box.right && box.top < bar.bottom && bar.top < box.bottom;
  }}).map(text => `${{card.id}}: ${{text.textContent}}`);
}})"""


@contextmanager
def dashboard(storage: str, folder: Path, *words: str, environment: dict[str, str] | None = None) -> Iterator[str]:
    """The address of the first study in `l2tune dashboard`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "l2tune", "dashboard", *words, "--storage", storage, "--port", str(port)]
    with (folder / "said.txt").open("w") as said:
        server = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, env=os.environ | (environment or {}))
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


def opened(browser: Browser, address: str, *, dark: bool = False) -> Page:
    scheme = "dark" if dark else "light"
    page = browser.new_context(viewport={"width": 1400, "height": 1200}, color_scheme=scheme).new_page()
    page.goto(address)
    return page


@pytest.fixture(scope="module")
def valley(make_valley: MakeStudy, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A storage with one study, published with its report as at the end of a search, and its folder."""
    folder = tmp_path_factory.mktemp("dashboard")
    storage = f"sqlite:///{folder}/l2tune.db"
    study = make_valley(storage=storage, fold_limit=lambda s: 2 if s > 0.01 else 5)
    tradeoff = Tradeoff.from_study(study)
    tradeoff.report(folder / "runs" / "valley")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert DashboardPublisher(study).finish(tradeoff, "runs/valley") == ""
    finally:
        os.chdir(before)
    return storage, folder


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_figures_can_be_read(browser: Browser, valley: tuple[str, Path], dark: bool) -> None:
    storage, folder = valley
    with dashboard(storage, folder) as address:
        page = opened(browser, address, dark=dark)
        names = {f"{CARD}{name}" for name in STILL}
        page.wait_for_function(f"document.querySelectorAll('{CARDS} .main-svg .trace').length >= 12")
        page.wait_for_function(f"document.querySelectorAll('{CARDS} .modebar').length >= {len(names)}")
        cards = page.eval_on_selector_all(CARDS, "all => all.filter(e => e.querySelector('.trace')).map(e => e.id)")
        assert set(cards) == names
        page.evaluate(LOOKS)
        page.eval_on_selector_all(CARDS, "all => all.forEach(e => e.classList.add('figure'))")
        overlaps = [found for found in page.evaluate("looks.overlaps()") if found.startswith(CARD)]
        assert not overlaps, "\n".join(overlaps)
        assert page.evaluate(UNDER_THE_TOOL_BAR) == []
        papers = page.eval_on_selector_all(
            f"{CARDS} .main-svg:first-of-type", "all => all.map(e => e.style.background)"
        )
        assert papers == ["white"] * len(names), "the dashboard's dark colours are not the figures'"
        heights = page.eval_on_selector_all(
            CARDS, "all => all.map(e => e.querySelector('.main-svg').clientHeight - e.clientHeight)"
        )
        assert max(heights) <= 0, "no figure is higher than its card"


def test_the_note_begins_with_the_verdict(browser: Browser, valley: tuple[str, Path]) -> None:
    storage, folder = valley
    with dashboard(storage, folder) as address:
        page = opened(browser, f"{address}/note")
        page.wait_for_selector("text=95 % credible interval")
        told = page.inner_text("body")
        [first, *_] = [line for line in told[told.rindex("\nNote\n") :].splitlines()[2:] if line.strip()]
        assert first.startswith("Use λ = ")
        assert "weight_decay=" in first
        answer = page.locator("strong", has_text="95 % credible interval").bounding_box()
        others = [one.bounding_box() for one in page.locator("li:has-text('overfits'), table").all()]
        assert answer is not None
        assert len(others) >= 2
        assert all(other is not None and other["y"] > answer["y"] for other in others)


def test_the_files_of_the_report_are_artifacts(browser: Browser, valley: tuple[str, Path]) -> None:
    storage, folder = valley
    with dashboard(storage, folder) as address:
        page = opened(browser, address)
        for name in ("report.html", "results.json", "trials.csv", "curve.csv"):
            page.wait_for_selector(f"text={name}")
        with page.expect_download() as started:
            page.locator("a[download='results.json']").click()
        got = Path(str(started.value.path())).read_bytes()
        assert got == (folder / "runs" / "valley" / "results.json").read_bytes()


def test_a_browser_is_opened_at_the_study(valley: tuple[str, Path], tmp_path: Path) -> None:
    storage, folder = valley
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/opened\n')
    browser.chmod(0o755)
    with dashboard(storage, folder, "--open", environment={"BROWSER": str(browser)}) as address:
        for _ in range(100):
            if (tmp_path / "opened").exists():
                break
            time.sleep(0.1)
        assert (tmp_path / "opened").read_text() == f"{address}\n", "the only study of the storage"
        assert f"Optuna dashboard on {address} (Ctrl-C" in (folder / "said.txt").read_text()


def test_without_a_browser_it_says_where_to_look(valley: tuple[str, Path]) -> None:
    storage, folder = valley
    nothing = {"BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": "", "PATH": "/nowhere"}
    with dashboard(storage, folder, "constructed", "--open", environment=nothing) as address:
        line = f"l2tune: --open: no browser can be opened here; open {address} in yours"
        for _ in range(100):
            said = (folder / "said.txt").read_text()
            if line in said:
                break
            time.sleep(0.1)
        assert line in said.splitlines()
        assert "Traceback" not in said


def test_the_note_shows_names_as_they_are(browser: Browser, make_own: MakeStudy, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/l2tune.db"
    name = "[x](http://y.org) <b>f1</b> $z$"
    study = make_own(Metric(name), parameter=name, scale="C", strengths=(0.0, 1e-3, 1e-2, 1e-1))
    optuna.copy_study(
        from_study_name=study.study_name, from_storage=study._storage, to_storage=storage, to_study_name="s"
    )
    kept = optuna.load_study(study_name="s", storage=storage)
    publish(kept, Tradeoff.from_study(kept))
    with dashboard(storage, tmp_path) as address:
        page = opened(browser, f"{address}/note")
        page.wait_for_selector("text=one-SE")
        [text] = [text for text in page.locator("th").all_text_contents() if "f1" in text]
        assert text.replace("\u2060", "") == name
        assert page.locator("a[href*='y.org']").count() == 0


def test_it_shows_the_pareto_front_of_underfit_and_overfit(browser: Browser, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/l2tune.db"
    study = optuna.create_study(storage=storage, directions=["minimize", "minimize"])

    def fit(strength: float, fold: int, seed: int) -> dict[str, float]:
        train = 0.01 + 2 * strength
        return {"train_loss": train, "val_loss": train + 0.3 / (1 + 1e3 * strength) + 0.01 * fold}

    study.optimize(TradeoffObjective(fit=fit, folds=3), n_trials=6)
    assert len(study.best_trials) > 1
    with dashboard(storage, tmp_path) as address:
        page = opened(browser, address)
        page.wait_for_selector("text=Pareto")
        page.wait_for_selector(".main-svg >> text=underfit: training loss")
        page.wait_for_selector(".main-svg >> text=overfit: validation − training loss")


def test_its_own_page_may_write_and_another_may_not(browser: Browser, tmp_path: Path) -> None:
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
        assert optuna.get_all_study_names(storage) == ["first", "second"]

        page = page.context.new_page()  # the other one is still on its way to the refusal
        page.goto(f"{address}/note")
        page.get_by_role("button").nth(5).click()  # the pencil
        page.locator("textarea").first.fill("a note of mine")
        page.get_by_role("button", name="Save").click()
        page.wait_for_selector("p >> text=a note of mine")
        page.reload()
        page.wait_for_selector("p >> text=a note of mine")
        assert page.evaluate(send, [f"{root}/api/studies/2", "DELETE", "{}", "same-origin"]) == 204
        assert optuna.get_all_study_names(storage) == ["first"]
