"""What README and the documentation show runs, or is read by l2tune's own parser; no page, name or link is forgotten.

Each page is one test, in a folder of its own with a few real images and the modules that its commands name. There

- `python` runs, in one namespace a page;
- `bash` is read line by line: every `l2tune` command must be understood, extras and files must exist;
- `toml` must be settings of a search or of a comparison;
- `text` is output, and is not run.

A comment right before a block says otherwise:

- `<!-- quick: OLD → NEW; OLD → NEW -->` replaces what would take long before a `python` block runs;
- `<!-- run -->` or `<!-- run: FLAGS -->` also runs the commands of a `bash` block, searches with these flags in place
  of their own (by default those of a quick search);
- `<!-- file: NAME -->` keeps the block as a file for later commands;
- `<!-- not run: REASON -->` leaves out what cannot be run here: lines that are no command of l2tune, or a whole block.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import l2tune
import l2tune.sklearn
from l2tune.cli import app, main
from l2tune.comparison_settings import build_comparison
from l2tune.settings import PLACES, build, read_toml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = ("_build", "measurements")
PAGES = [ROOT / "README.md", *(p for p in sorted(DOCS.rglob("*.md")) if p.relative_to(DOCS).parts[0] not in GENERATED)]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}

QUICK = "--subset 60 --epochs 1 --folds 2 --trials 3"
NOT_RUN = {"docs/how-to/cluster.md": 1, "docs/how-to/trackers.md": 1}
"""Page → how many of its blocks are marked as not to be run. Each has its reason before it."""

Mark = dict[str, str]


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int
    marks: Mark
    """What the comments before it say: `quick`, `run`, `file` or `not run` → the rest of the comment."""


LEAVES = ("{toctree}", "{include}", "{literalinclude}", "{generated}", "{eval-rst}", "{image}", "{figure}", "{math}")
"""Directives that hold no block to run; what stands in others is looked into."""


def blocks_of(text: str, above: int = 0) -> Iterator[Block]:
    """The fenced blocks of a page, those in lists and in Sphinx's directives among them.

    Args:
        above: How many lines of the page are above the text.
    """
    pattern = (
        r"(?P<marks>(?:^ *<!--[^\n]*-->\n)*)^(?P<indent> *)(?P<fence>`{3,})(?P<language>[^\n`]*)\n"
        r"(?P<text>.*?)^(?P=indent)(?P=fence)$"
    )
    for found in re.finditer(pattern, text, re.DOTALL | re.MULTILINE):
        line = above + text[: found.start("text")].count("\n")
        if not found["language"].startswith("{"):
            marks = [mark.partition(":") for mark in re.findall(r"<!-- (.*?) -->", found["marks"])]
            said = {name: rest.strip() for name, _, rest in marks}
            yield Block(found["language"], textwrap.dedent(found["text"]), line, said)
        elif not found["language"].startswith(LEAVES):
            yield from blocks_of(found["text"], line)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A reader's folder, as the pages speak of it: photos/, arrays.npz, nets.py and the package mypackage."""
    digits, labels = load_digits(n_class=3, return_X_y=True)
    images = (digits.reshape(-1, 8, 8) * 15).astype(np.uint8)
    for number, (image, label) in enumerate(zip(images[:90], labels[:90], strict=True)):
        place = tmp_path / "photos" / "abc"[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    np.savez(tmp_path / "arrays.npz", images=images[:90], labels=labels[:90])
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    (tmp_path / "docs").symlink_to(DOCS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in [
        name for name in os.environ if name.startswith("L2TUNE_") and name not in ("L2TUNE_DATA", "L2TUNE_CI")
    ]:
        monkeypatch.delenv(name)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_page_shows_runs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if 'Path("photos")' in TEXTS[name]:  # the page makes its own
        shutil.rmtree(folder / "photos")
    scope: dict[str, Any] = {"__name__": "page"}
    for block in blocks_of(TEXTS[name]):
        where = f"{name}:{block.line + 1}"
        assert set(block.marks) <= {"quick", "run", "file", "not run"}, where
        if file := block.marks.get("file"):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(block.text, encoding="utf-8")
            importlib.invalidate_caches()
        if block.language == "text" or (block.language not in ("python", "toml", "bash") and "not run" in block.marks):
            continue
        if block.language == "python" and "not run" not in block.marks:
            code = "\n" * block.line + shortened(block, where)  # so that a traceback names the line of the page
            exec(compile(code, str(ROOT / name), "exec"), scope)
        elif block.language == "toml":
            check_toml(block.text, folder, where)
        elif block.language == "bash":
            for line in command_lines(block.text):
                try_line(shlex.split(line, comments=True), block.marks, where)
        else:
            assert block.language == "python", f"{where}: what is a block of {block.language!r}?"


def shortened(block: Block, where: str) -> str:
    code = block.text
    for pair in filter(None, block.marks.get("quick", "").split("; ")):
        old, arrow, new = pair.partition(" → ")
        assert arrow, f"{where}: write OLD → NEW"
        assert old in code, f"{where}: {old!r} is not there"
        code = code.replace(old, new)
    return code


def command_lines(text: str) -> Iterator[str]:
    """Commands, with those that go on in the next line joined and those joined by `&&` apart."""
    for line in text.replace("\\\n", " ").splitlines():
        if not line.startswith("#"):
            yield from filter(None, map(str.strip, re.split(r" && |; ", line.split(" #")[0])))


def check_toml(text: str, folder: Path, where: str) -> None:
    (folder / "shown.toml").write_text(text, encoding="utf-8")
    if "penalties" in tomllib.loads(text):
        assert build_comparison({}, None, folder / "shown.toml"), where
    else:
        assert build({}, folder / "shown.toml"), where


def try_line(words: list[str], marks: Mark, where: str) -> None:
    """Check one command of a shell, and run it where it is one of l2tune's and its block is marked so."""
    assignments = [word for word in words if re.match(r"[A-Z_0-9]+=", word)]
    words = words[len(assignments) :] if words[: len(assignments)] == assignments else words
    match words:
        case ["l2tune", "--install-completion"]:
            pass
        case ["l2tune", *rest]:
            check_command(rest, where)
            if "run" in marks:
                run_command(rest, marks["run"] or QUICK, where)
        case ["pip", "install", *packages]:
            check_extras(packages, where)
        case ["python", program, *_] if program.endswith(".py"):
            assert (ROOT / program).is_file(), f"{where}: {program}"
        case ["python", "-m", "sphinx", *rest]:
            assert (ROOT / rest[-2] / "conf.py").is_file(), where
        case ["sbatch", *rest]:
            script = next(word for word in rest if word.endswith(".sh"))
            assert (ROOT / script).is_file(), f"{where}: {script}"
            check_command(["search", *rest[rest.index(script) + 1 :]], where)
        case ["ray", "job", "submit", *rest]:
            check_command(rest[rest.index("--") + 2 :], where)
        case ["kubectl", "apply", "-f", file]:
            assert (ROOT / file).is_file(), f"{where}: {file}"
        case ["pytest", *_] | ["export", *_]:
            pass
        case _:
            assert "not run" in marks, f"{where}: say why {shlex.join(words)!r} is not run"


def check_command(words: list[str], where: str) -> None:
    """Flags and arguments are known, and settings fit."""
    _, bound, ignored = app.parse_args(words, print_error=False, exit_on_error=False)
    assert not ignored, where
    given = {name: value for name, value in bound.arguments.items() if name in PLACES}
    file = next((word for word in words if word.endswith(".toml")), None)
    if file is not None and not Path(file).exists():  # a file of the reader's own
        file = None
    if words[0] == "compare":
        penalties = bound.arguments.get("penalties")
        build_comparison(given, penalties and ",".join(penalties), file, flags=True)
    elif words[0] in ("search", "layers", "estimate"):
        build(given, file, flags=True)


def run_command(words: list[str], quick: str, where: str) -> None:
    if words[0] in ("search", "compare", "estimate"):
        words = [*without_flags(words, {word for word in quick.split() if word.startswith("--")}), *shlex.split(quick)]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code, f"{where}: l2tune {shlex.join(words)} ended with {ended.value.code}"


def without_flags(words: list[str], flags: set[str]) -> list[str]:
    """A command without these flags and their values."""
    kept, within = [], False
    for word in words:
        within = word in flags or (within and not word.startswith("--"))
        if not within:
            kept.append(word)
    return kept


def check_extras(packages: list[str], where: str) -> None:
    """Of l2tune, or of this folder; their extras exist."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for package in packages:
        if package.startswith("-"):
            continue
        found = re.fullmatch(r"(\.|l2tune)(?:\[(.*)\])?", package)
        assert found, f"{where}: {package}"
        assert set((found[2] or "").split(",")) - {""} <= set(extras), f"{where}: {package}"


def test_blocks_that_are_not_run_are_few_and_say_why() -> None:
    found = {
        name: [b.marks["not run"] for b in blocks_of(text) if "not run" in b.marks] for name, text in TEXTS.items()
    }
    assert all(all(reasons) for reasons in found.values())
    assert {name: len(reasons) for name, reasons in found.items() if reasons} == NOT_RUN


@pytest.mark.parametrize("name", TEXTS)
def test_code_stands_in_fences(name: str) -> None:
    """An indented block, one in tildes or in `{code-block}` would be seen by nobody's test."""
    assert re.findall(r"~~~|\{code", TEXTS[name]) == []
    outside = re.sub(r"^(`{3,}|:{3,})[^\n]*\n.*?^\1$", "", TEXTS[name], flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"(?<=\n\n)    \S.*", outside) == []


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    """Also where the source is read: each is the path of a file, and a heading in it."""
    outside = re.sub(r"^(`{3,})[^\n]*\n.*?^\1$", "", TEXTS[name], flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", outside):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, heading = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name}: {target}"
        if heading and file.suffix == ".md" and "{generated}" not in file.read_text(encoding="utf-8"):
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [slug(text) for text in headings], f"{name}: {target}"


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_every_public_name_is_documented() -> None:
    text = TEXTS["docs/reference/python.md"]
    named = re.findall(r"^\.\. auto\w+:: ([\w.]+)", text, re.MULTILINE)
    wanted = {f"l2tune.{name}" for name in l2tune.__all__} | {f"l2tune.sklearn.{n}" for n in l2tune.sklearn.__all__}
    assert sorted(wanted - set(named)) == []
    assert len(named) == len(set(named))


def test_the_reference_has_every_command_and_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    generated = importlib.import_module("generated")
    text = generated.command_line()
    for command in set(app) - {"--help", "-h", "--version"}:
        heading = command if command.startswith("-") else f"l2tune {command}"
        assert f"\n## {heading}\n" in f"\n{text}", command
        assert command.startswith("-") or f"(#l2tune-{command})" in generated.command_table()
    settings = generated.settings()
    for name, place in PLACES.items():
        assert f"`{place[-1]}`, `--{name.replace('_', '-')}`\n: " in settings, name
    for page, wanted in (("command-line", ("command_table", "command_line")), ("settings", ("settings",))):
        assert all(f"```{{generated}} {name}\n" in TEXTS[f"docs/reference/{page}.md"] for name in wanted)


def test_every_environment_variable_is_documented() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "l2tune").rglob("*.py"))
    code += (DOCS / "cluster/slurm.sh").read_text(encoding="utf-8")
    named = set(re.findall(r"\bL2TUNE_[A-Z_]+\b", code))
    assert named
    assert sorted(name for name in named if f"`{name}`" not in TEXTS["docs/reference/environment.md"]) == []


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.toml")), ids=lambda path: path.stem)
def test_the_studies_are_settings(path: Path) -> None:
    if "penalties" in read_toml(path):
        assert build_comparison({}, None, path).name == path.stem
    else:
        assert build({}, path).study == path.stem


def test_the_digits_study_is_the_default() -> None:
    assert build({}, ROOT / "studies/digits.toml") == build({})


def test_readme_is_read_in_two_minutes() -> None:
    assert TEXTS["README.md"].count("\n") <= 150
