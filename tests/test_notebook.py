"""The notebook in docs/examples/ runs as it stands there, in a real kernel."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from l2tune.notebook import NotebookLines, in_notebook

NOTEBOOK = Path(__file__).parents[1] / "docs/examples/notebook.ipynb"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What each cell of code has shown."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = str(tmp_path_factory.mktemp("notebook"))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}}).execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_progress_stands_below_its_cell_in_one_place(outputs: list[list[Any]]) -> None:
    shown = [output for output in outputs[0] if output.output_type == "display_data"]
    assert len(shown) == 1, "one output, drawn anew"
    lines = shown[0].data["text/html"]
    assert "trial 1: " in lines
    assert "trial 3: " in lines
    assert "<progress" not in lines, "it is over"
    printed = [output.text for output in outputs[0] if output.output_type == "stream"]
    assert not any("l2tune:" in text for text in printed), "not on standard error too"


def test_what_is_going_on_stands_below_the_lines_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    drawn: list[str] = []

    class Handle:
        def update(self, shown: Any) -> None:
            drawn.append(shown.data)

    def display(shown: Any, display_id: bool) -> Handle:
        assert display_id
        drawn.append(shown.data)
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    lines = NotebookLines()
    with lines.shown():
        lines.say("trial 1 <done>")
        lines.show(["λ 1e-3, fold 2 of 5", "about 2 min left"], 0.25)
        lines.say("trial 2")
    assert drawn[0] == "<pre>trial 1 &lt;done&gt;</pre>"
    assert drawn[1].startswith(drawn[0])
    assert '<progress value="0.250" max="1"' in drawn[1]
    assert "<pre>λ 1e-3, fold 2 of 5\nabout 2 min left</pre>" in drawn[2]
    assert drawn[3] == "<pre>trial 1 &lt;done&gt;\ntrial 2</pre>"


def test_a_tradeoff_shows_verdict_curve_table_and_figure(outputs: list[list[Any]]) -> None:
    _, (itself,), (lines, table), figure = outputs
    assert "<svg" in itself.data["text/html"]
    assert itself.data["text/plain"].startswith("Tradeoff of study 'fit'")
    assert lines.text.startswith("Tradeoff of study 'fit'")
    assert "validation_se" in table.data["text/html"]
    assert any("application/vnd.plotly.v1+json" in output.data or "text/html" in output.data for output in figure)


def test_elsewhere_there_is_no_notebook() -> None:
    assert not in_notebook()


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.outputs for cell in notebook.cells if cell.cell_type == "code")
