"""Who may import whom: one direction, and nothing heavy before it is needed."""

import ast
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import l2tune

ROOT = Path(l2tune.__file__).parent

ORDER = (
    (
        "l2tune.terminal_text",
        "l2tune.storage_url",
        "l2tune.whole_files",
        "l2tune.process",
        "l2tune.notebook",
        "l2tune.display",
    ),
    ("l2tune.errors",),
    ("l2tune.given",),
    ("l2tune.importing", "l2tune.penalty.strength", "l2tune.optuna_internals"),
    ("l2tune.members", "l2tune.metrics", "l2tune.settings", "l2tune.comparison_settings"),
    ("l2tune.curve",),
    ("l2tune.records",),
    ("l2tune.data",),
    ("l2tune.models",),
    ("l2tune.penalty",),
    ("l2tune.training",),
    ("l2tune.analysis",),
    ("l2tune.assemble",),
    ("l2tune.objectives",),
    ("l2tune.search",),
    ("l2tune.report",),
    ("l2tune.trackers",),
    ("l2tune.tradeoff", "l2tune.comparison"),
    ("l2tune.sklearn", "l2tune.tuning"),
    ("l2tune.commands",),
    ("l2tune", "l2tune.cli", "l2tune.__main__"),
)
"""Parts from left to right: a module imports from its own part and from those before it, for typing too. `l2tune`
itself is the package's `__init__.py`: every module may take the version from it, and its own imports are for type
checkers."""

STRATEGIES = (
    *("sampler", "pruner", "stopping", "completion", "widening"),
    *("workers", "parameter", "heartbeat", "pending"),
)

HEAVY = ("torch", "torchvision", "optuna", "sklearn", "scipy", "pandas", "plotly", "tensorboard", "mlflow", "wandb")


@dataclass(frozen=True)
class Imported:
    """A module that another imports.

    Attributes:
        name: Dotted, e.g. `l2tune.records.tables` or `torch.nn`.
        when: `start`, when the importing module is loaded; `deferred`, inside a function; `typing`, never.
    """

    name: str
    when: str


@cache
def sources() -> dict[str, Path]:
    """Module name → file, of the whole package."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["l2tune", *path.relative_to(ROOT).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports_of(module: str) -> tuple[Imported, ...]:
    """What a module's source imports; `from l2tune import records` counts as `l2tune.records.tables`."""
    found: list[Imported] = []

    def visit(node: ast.AST, when: str) -> None:
        if isinstance(node, ast.Import):
            found.extend(Imported(alias.name, when) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.append(Imported(inner if inner in sources() else str(node.module), when))
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.body:
                visit(child, "typing")
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                visit(child, "deferred" if inside and when == "start" else when)

    visit(ast.parse(sources()[module].read_text(encoding="utf-8")), "start")
    return tuple(found)


def is_part_of(module: str, part: str) -> bool:
    """Whether a module is the part or lies inside; `l2tune` itself holds nothing else."""
    return module == part or (part != "l2tune" and module.startswith(f"{part}."))


def place(module: str) -> int:
    """Of a module in `ORDER`."""
    places = [(len(part), i) for i, parts in enumerate(ORDER) for part in parts if is_part_of(module, part)]
    return max(places)[1]  # the narrowest part that holds it


def loaded_with(module: str) -> set[str]:
    """All modules, ours and others', that loading this one names at its start, its own imports' imports included."""
    seen: set[str] = set()
    left = [module]
    while left:
        current = left.pop()
        for imported in imports_of(current):
            if imported.when == "start" and imported.name not in seen:
                seen.add(imported.name)
                if imported.name in sources():
                    left.append(imported.name)
    return seen


def others(names: set[str]) -> set[str]:
    """Top-level names outside the standard library and this package."""
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"l2tune"}


def inside(*parts: str) -> list[str]:
    found = [module for module in sources() if any(is_part_of(module, part) for part in parts)]
    assert found, f"no module in {parts}"
    return found


def test_imports_are_found() -> None:
    assert {"torch", "numpy"} <= others(loaded_with("l2tune.training.sequential"))
    assert Imported("l2tune.report.files", "deferred") in imports_of("l2tune.tradeoff")
    assert Imported("optuna", "typing") in imports_of("l2tune.tradeoff")


def test_every_module_has_a_place_in_the_order() -> None:
    assert {module for module in sources() if not any(is_part_of(module, p) for parts in ORDER for p in parts)} == set()


@pytest.mark.parametrize("module", sources())
def test_imports_go_in_one_direction(module: str) -> None:
    against = [
        imported
        for imported in imports_of(module)
        if imported.name in sources() and imported.name != "l2tune" and place(imported.name) > place(module)
    ]
    assert against == []


def test_no_module_leads_back_to_itself() -> None:
    """Imports for typing and inside functions count too."""
    graph = {
        m: {i.name for i in imports_of(m) if i.name in sources()} - {m, "l2tune"} for m in sources() if m != "l2tune"
    }

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        left = list(graph[start])
        while left:
            current = left.pop()
            if current not in seen:
                seen.add(current)
                left += graph[current]
        return seen

    assert [module for module in graph if module in reached(module)] == []


@pytest.mark.parametrize(
    "module",
    inside(
        *("l2tune.errors", "l2tune.penalty.strength", "l2tune.importing"),
        *("l2tune.given", "l2tune.storage_url", "l2tune.terminal_text", "l2tune.whole_files"),
    ),
)
def test_the_first_parts_need_the_standard_library_only(module: str) -> None:
    assert others({imported.name for imported in imports_of(module)} | loaded_with(module)) == set()


def test_the_seam_between_trainer_and_search_is_plain() -> None:
    assert others(loaded_with("l2tune.members")) == {"numpy"}


@pytest.mark.parametrize(
    "module", inside("l2tune.curve", "l2tune.analysis.paired_test", "l2tune.analysis.bias_variance")
)
def test_the_curve_and_the_statistics_are_numpy_and_scipy(module: str) -> None:
    everything = {imported.name for imported in imports_of(module)} | loaded_with(module)
    assert others(everything) <= {"numpy", "scipy"}


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_know_the_curve_and_the_records_only(name: str) -> None:
    ours = {i.name for i in imports_of(f"l2tune.search.{name}") if i.when != "typing" and i.name in sources()}
    strategies = {f"l2tune.search.{other}" for other in STRATEGIES}
    plain = {"l2tune.errors", "l2tune.penalty.strength", "l2tune.optuna_internals", "l2tune.settings"}
    known = {*inside("l2tune.curve"), *inside("l2tune.records")}
    assert ours <= known | plain | strategies


@pytest.mark.parametrize(
    "module",
    inside(
        "l2tune.data",
        "l2tune.models",
        "l2tune.penalty.roles",
        "l2tune.penalty.weights",
        "l2tune.penalty.forms",
        "l2tune.training",
        "l2tune.members",
    ),
)
def test_training_knows_nothing_of_the_search(module: str) -> None:
    everything = {imported.name for imported in imports_of(module)} | loaded_with(module)
    assert others(everything) & {"optuna", "plotly", "optuna_dashboard", "sqlalchemy"} == set()


@pytest.mark.parametrize("module", inside("l2tune.records", "l2tune.tradeoff", "l2tune.analysis", "l2tune.report"))
def test_the_report_reads_only_the_study(module: str) -> None:
    everything = {i.name for i in imports_of(module) if i.when != "typing"} | loaded_with(module)
    assert others(everything) & {"torch", "torchvision", "safetensors"} == set()
    trains = (
        "l2tune.training",
        "l2tune.models",
        "l2tune.data",
        "l2tune.penalty.roles",
        "l2tune.penalty.weights",
        "l2tune.penalty.forms",
        "l2tune.objectives.cross_validation",
    )
    assert [name for name in everything if any(is_part_of(name, part) for part in trains)] == []


@pytest.mark.parametrize("module", inside("l2tune", "l2tune.cli", "l2tune.__main__"))
def test_the_command_line_loads_nothing_heavy(module: str) -> None:
    assert others(loaded_with(module)) & set(HEAVY) == set()


def loaded_in_a_process(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after some code."""
    report = "import sys, json; print('\\n' + json.dumps([name.partition('.')[0] for name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def run_command(*words: str) -> str:
    """Code that runs the command line as a user would."""
    call = f"    main({list(words)!r})"
    return "\n".join(
        ["from l2tune.cli import main", "try:", call, "except SystemExit as end:", "    assert not end.code"]
    )


@pytest.mark.parametrize("words", [("--help",), ("--version",)])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    assert loaded_in_a_process(run_command(*words)) & {*HEAVY, "numpy", "sqlalchemy"} == set()


def test_help_of_search_imports_neither_torch_nor_optuna_nor_plotly() -> None:
    assert loaded_in_a_process(run_command("search", "--help")) & {"torch", "optuna", "plotly", "sklearn"} == set()


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_in_a_process("import l2tune") & {*HEAVY, "numpy"} == set()


def test_the_trainer_loads_no_optuna() -> None:
    modules = ", ".join(inside("l2tune.training", "l2tune.models", "l2tune.data", "l2tune.penalty"))
    assert loaded_in_a_process(f"import {modules}") & {"optuna", "plotly", "sqlalchemy"} == set()


def test_the_report_loads_no_torch() -> None:
    modules = ", ".join(inside("l2tune.report", "l2tune.tradeoff", "l2tune.analysis.findings", "l2tune.search.sampler"))
    assert "torch" not in loaded_in_a_process(f"import {modules}")


@pytest.mark.parametrize("words", [("show", "finished"), ("report", "finished"), ("list",)], ids=lambda words: words[0])
def test_looking_at_a_study_loads_no_torch(make_study: Any, tmp_path: Path, words: tuple[str, ...]) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    make_study(
        lambda x: 0.5 + (math.log10(x + 1e-7) + 3) ** 2 / 20, lambda x: 0.2 + x, name="finished", storage=storage
    )
    folder = ["--out", str(tmp_path / "results")] if words[0] == "report" else []
    loaded = loaded_in_a_process(run_command(*words, "--storage", storage, *folder))
    assert "optuna" in loaded
    assert loaded & {"torch", "torchvision"} == set()


def test_a_search_begins_with_what_its_first_epoch_needs(tmp_path: Path) -> None:
    """What takes as long to import as torch itself comes later, when there is something to fit or to draw."""
    out = ["--storage", str(tmp_path / "start.db"), "--out", str(tmp_path / "out"), "--quiet"]
    code = "\n".join(
        [
            "import sys, json, os",
            "from l2tune.training.sequential import SequentialRun",
            "def report(*given, **named):",
            "    print(json.dumps(sorted(sys.modules)), flush=True)",
            "    os._exit(0)",
            "SequentialRun._train = report",
            "from l2tune.cli import main",
            f"main({['search', *out]!r})",
        ]
    )
    alone = os.environ | {"OMP_NUM_THREADS": "1"}  # of two networks side by side, each would report
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=alone)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    late = {"torch._dynamo", "torchvision", "sklearn", "scipy", "pandas", "plotly", "optuna_dashboard", "sympy"}
    assert loaded >= {"torch", "optuna", "sqlalchemy"}
    assert loaded & late == set()
