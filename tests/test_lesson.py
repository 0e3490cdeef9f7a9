"""The lesson's pictures and outputs are those of its pages, and the tables of measurements those of their files."""

import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [*sorted((DOCS / "lesson").glob("*.md")), DOCS / "tutorial.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_picture_and_output_of_a_page_is_kept(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"^!\[(.*)\]\((.*pictures/.*)\)$", text, re.MULTILINE)
    for alt, picture in shown:
        assert len(alt) > 20, f"{picture}: say what it shows"
        assert 1_000 < (page.parent / picture).stat().st_size <= 100_000, picture
    for output in re.findall(r"^```\{literalinclude\} (.*)$", text, re.MULTILINE):
        assert (page.parent / output).read_text(encoding="utf-8").strip(), output
    assert "PLACEHOLDER" not in text


def test_no_picture_or_output_is_left_over() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    kept = [*(DOCS / "lesson/pictures").iterdir(), *(DOCS / "lesson/output").iterdir()]
    assert [path.name for path in kept if f"{path.parent.name}/{path.name}" not in text] == []


def test_each_section_of_the_lesson_has_a_command_or_code_and_a_picture() -> None:
    sections = [page for page in PAGES if re.match(r"\d-", page.stem)]
    assert len(sections) == 6
    for page in sections:
        text = page.read_text(encoding="utf-8")
        assert re.search(r"^```(python|bash)$", text, re.MULTILINE), page
        assert "](pictures/" in text, page


def test_the_tables_are_those_of_the_measurements() -> None:
    made = runpy.run_path(str(DOCS / "how-it-works/tables.py"))["TABLES"]
    kept = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "how-it-works/tables").glob("*.md")}
    assert kept == {name: make() for name, make in made.items()}
    shown = (DOCS / "how-it-works/measured.md").read_text(encoding="utf-8")
    assert [name for name in kept if f"tables/{name}.md" not in shown] == []
