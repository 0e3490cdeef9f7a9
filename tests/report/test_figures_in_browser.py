"""The figures in a real browser: no text lies on another, is cut off or crossed by a line, on a phone or a screen."""

import json
from collections.abc import Callable, Iterator, Mapping

import optuna
import plotly.graph_objects as go
import pytest
from playwright.sync_api import Browser, Page
from plotly.offline import get_plotlyjs

from l2tune.analysis.comparison import Comparison
from l2tune.analysis.estimates import Estimates
from l2tune.metrics import Metric
from l2tune.records.tables import read_study
from l2tune.report import comparison_figures, comparison_weights_figures
from l2tune.report.figures import FIGURES
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]
WIDTHS = (340, 760, 1000)

DRAW = """([figures, width]) => {
  const merge = (into, from) => {
    for (const key in from) {
      const inner = from[key] && typeof from[key] === "object" && !Array.isArray(from[key]) && into[key];
      if (inner) merge(into[key], from[key]); else into[key] = from[key];
    }
  };
  document.body.replaceChildren();
  document.body.style.margin = 0;
  return Promise.all(Object.entries(figures).map(([name, {data, layout}]) => {
    const holder = document.createElement("div");
    holder.id = name;
    holder.className = "figure";
    if (width < 600) merge(layout, layout.meta.narrow);
    holder.style.cssText = `width: ${width}px; height: ${layout.height}px`;
    document.body.append(holder);
    return Plotly.newPlot(holder, data, layout, {displaylogo: false, displayModeBar: true});
  })).then(() => null);
}"""

FAULTS = """() => {
  const faults = [];
  for (const figure of document.querySelectorAll(".figure")) {
    const frame = figure.getBoundingClientRect();
    const texts = [...figure.querySelectorAll(".main-svg text")]
      .filter(e => e.textContent.trim() && !e.closest(".hoverlayer"))
      .map(e => ({said: e.textContent, box: e.getBoundingClientRect()}))
      .filter(({box}) => box.width > 0);
    const bar = figure.querySelector(".modebar");
    if (bar && bar.querySelector(".modebar-btn")) texts.push({said: "tool bar", box: bar.getBoundingClientRect()});
    const points = [...figure.querySelectorAll(".scatterlayer .lines path, .shapelayer path")]
      .filter(e => getComputedStyle(e).stroke !== "none" && parseFloat(getComputedStyle(e).strokeWidth) > 0)
      .flatMap(pointsOf);
    for (const [place, {said, box}] of texts.entries()) {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
          || box.bottom > frame.bottom + 1) faults.push(`${figure.id}: ${said} is cut off`);
      for (const other of texts.slice(place + 1))
        if (box.left < other.box.right - 1 && other.box.left < box.right - 1 && box.top < other.box.bottom - 2
            && other.box.top < box.bottom - 2) faults.push(`${figure.id}: ${said} lies on ${other.said}`);
      const crossed = ({x, y}) => x > box.left + 1 && x < box.right - 1 && y > box.top + 3 && y < box.bottom - 3;
      if (said !== "tool bar" && points.some(crossed)) faults.push(`${figure.id}: ${said} is crossed`);
    }
  }
  return faults;

  function clipOf(element) {
    const holder = element.closest("[clip-path]");
    if (!holder) return null;
    const id = holder.getAttribute("clip-path").match(/#([^'")]+)/)[1];
    const rect = document.getElementById(id).querySelector("rect");
    const to = holder.getScreenCTM();
    const [x, y, w, h] = ["x", "y", "width", "height"].map(name => Number(rect.getAttribute(name)));
    return {left: to.e + x, top: to.f + y, right: to.e + x + w, bottom: to.f + y + h};
  }
  function pointsOf(path) {
    const [clip, to, length] = [clipOf(path), path.getScreenCTM(), path.getTotalLength()];
    const points = [];
    for (let at = 0; at <= length; at += 3) points.push(path.getPointAtLength(at).matrixTransform(to));
    return points.filter(({x, y}) =>
      !clip || x >= clip.left && x <= clip.right && y >= clip.top && y <= clip.bottom);
  }
}"""


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.set_content("<!doctype html><title>figures</title>")
    page.add_script_tag(content=get_plotlyjs())
    yield page
    context.close()


def faults_of(page: Page, figures: Mapping[str, go.Figure | None]) -> list[str]:
    """What lies on what, at every width."""
    drawn = {name: json.loads(figure.to_json()) for name, figure in figures.items() if figure is not None}
    assert drawn
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(DRAW, [drawn, width])
        found += [f"{width}: {fault}" for fault in page.evaluate(FAULTS)]
    return found


def of_study(study: optuna.Study) -> dict[str, go.Figure | None]:
    t = Tradeoff.from_study(study)
    return {name: figure(t) for name, figure in FIGURES.items()}


STUDIES: Mapping[str, Callable[[MakeStudy, MakeStudy, MakeStudy], optuna.Study]] = {
    "racing": lambda valley, own, objective: valley(fold_limit=lambda s: 2 if s > 0.01 else 5),
    "diverging": lambda valley, own, objective: valley(diverged=lambda s: s >= 0.1),
    "error": lambda valley, own, objective: valley(metric="error", fold_limit=lambda s: 2 if s > 0.01 else 5),
    "one λ": lambda valley, own, objective: valley(strengths=(0.0, 1e-3)),
    "no λ = 0": lambda valley, own, objective: valley(strengths=(1e-6, 1e-3, 3e-3, 1e-1)),
    "own metric": lambda valley, own, objective: own(Metric("psnr", maximize=True, kind="positive", unit="dB")),
    "long name": lambda valley, own, objective: own(Metric("a_metric_of_mine_whose_name_is_long", True, unit="€/m²")),
    "wide range": lambda valley, own, objective: objective(),
}


@pytest.mark.parametrize("name", list(STUDIES))
def test_no_text_lies_on_another(
    name: str, page: Page, make_valley: MakeStudy, make_own: MakeStudy, make_objective: MakeStudy
) -> None:
    assert faults_of(page, of_study(STUDIES[name](make_valley, make_own, make_objective))) == []


def test_no_text_lies_on_another_where_the_curve_is_flat(page: Page, make_study: MakeStudy) -> None:
    assert faults_of(page, of_study(make_study(lambda s: 0.1, lambda s: 0.01))) == []


@pytest.mark.parametrize("forms", [("l2", "l1"), ("l2", "l2-loss", "l2-decoupled", "l1", "elastic")])
def test_no_text_of_a_comparison_lies_on_another(forms: tuple[str, ...], page: Page, make_study: MakeStudy) -> None:
    sides = {}
    for form in forms:
        study = make_study(
            lambda s: 0.1 + s,
            lambda s: 0.01 + s,
            settings={"penalty": form, "lambda_range": (1e-6, 1.0)},
            zeros=lambda s, sparse=form in ("l1", "elastic"): 0.8 if s and sparse else 0.0,
            strengths=(0.0, 1e-6, 1e-4, 1e-2, 1.0),
        )
        sides[form] = Estimates.from_record(read_study(study))
    c = Comparison("forms", sides)
    figures = {
        "curves": comparison_figures.curves_figure(c),
        "norm": comparison_figures.bought_figure(c, "weight_norm", "‖w‖ of the weights"),
        "zeros": comparison_figures.bought_figure(c, "zero_fraction", "weights exactly zero", percent=True),
        "layers": comparison_weights_figures.layers_figure(c, "l1"),
        "weights": comparison_weights_figures.magnitudes_figure(c, "one_se"),
        "smoothness": comparison_weights_figures.smoothness_figure(c),
        "bias": comparison_weights_figures.bias_figure(c),
    }
    assert faults_of(page, figures) == []


def test_what_lies_on_another_is_found(page: Page) -> None:
    note = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False, "text": "one on another"}
    layout = {"annotations": [note, note], "height": 300, "meta": {"narrow": {}}}
    layout["shapes"] = [{"type": "line", "xref": "paper", "yref": "paper", "x0": 0, "x1": 1, "y0": 0.5, "y1": 0.5}]
    found = faults_of(page, {"wrong": go.Figure(layout=layout)})
    assert len(found) == 3 * len(WIDTHS)
