"""Storages that anybody may have written to: every command answers, nothing steers the terminal or leaves `runs/`.

`L2TUNE_EXAMPLES=2000 pytest tests/commands/test_foreign_storages.py` tries harder.
"""

import copy
import json
import os
import random
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from l2tune.analysis.code_to_paste import code_to_paste
from l2tune.cli import main
from l2tune.commands.list import listed_study
from l2tune.commands.results import check_folder
from l2tune.errors import UserError
from l2tune.given import results_folder
from l2tune.metrics import Metric
from l2tune.records.comparison import join_comparison
from l2tune.records.keys import COMPARISON, PREFIX
from l2tune.records.refits import RefitRecord, write_refit
from l2tune.records.study import name_objectives, widen_range
from l2tune.report.dashboard import keep_artifacts, publish
from l2tune.report.export import table_bytes, tables
from l2tune.report.html import render
from l2tune.report.tables import results_json, trials_csv
from l2tune.report.terminal import render as render_terminal
from l2tune.search.storage import load_study, open_storage
from l2tune.tradeoff import Tradeoff

EXAMPLES = int(os.environ.get("L2TUNE_EXAMPLES", "25"))
"""Each is drawn as a whole report, which takes a second; `L2TUNE_EXAMPLES=1000` draws more."""
STEERING = "x\x1b[31m[/x][bold]\n\r\x07\x9b2J\u202e\u2028<script>alert(1)</script>|`$z$`"
OUTSIDE = [
    "../../evil",
    "/abs",
    "a/b",
    "a\\b",
    "..",
    ".",
    "...",
    " ",
    "a ",
    "a.",
    "nul",
    "CON",
    "com1.txt",
    "artifacts",
]
NAMES = ["../../evil", "/abs", "..", " ", "nul", STEERING, "n" * 255, "exp[/x]", "a[bold]b", "A", "--help"]


def make_foreign(storage: str, name: str, text: str) -> optuna.Study:
    """A study that l2tune did not make, with a text in every field that takes one."""
    study = optuna.create_study(storage=storage, study_name=name)
    name_objectives(study, [text])
    study.set_user_attr(text, text)
    for place, strength in enumerate([1e-4, 1e-3, 1e-2, 1e-1]):
        study.add_trial(
            create_trial(
                params={text: strength, f"{text}2": text, "b": 0.5},
                distributions={
                    text: FloatDistribution(1e-5, 1, log=True),
                    f"{text}2": CategoricalDistribution([text, "other"]),
                    "b": FloatDistribution(0, 1),
                },
                user_attrs={text: text},
                intermediate_values={0: 1.0 + abs(place - 2), 1: 1.1 + abs(place - 2)},
                value=1.05 + abs(place - 2),
            )
        )
    return study


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit status and all that a command prints; it may only end in order, and steer nothing."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    out, err = capfd.readouterr()
    said = out + err
    steering = [sign for sign in said if unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp") and sign != "\n"]
    assert not steering, (words, said)
    assert "Traceback" not in said, said
    assert ended.value.code in (0, 2), (words, said)
    if ended.value.code:
        assert len(err.splitlines()) == 1, err
    return int(ended.value.code or 0), said


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in; whatever a command writes lies below `runs/`."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    yield inner
    assert {path.name for path in tmp_path.iterdir()} == {"outer"}
    assert {path.name for path in inner.parent.iterdir()} == {"inner"}
    assert {path.name for path in inner.iterdir()} <= {"runs", "foreign.db"}


def test_any_name_is_shown_and_none_leads_out_of_its_folder(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    storage = "sqlite:///foreign.db"
    for name in NAMES:
        make_foreign(storage, name, "lambda" if name in OUTSIDE else STEERING)
    capfd.readouterr()
    status, listed = run(capfd, "list", "--storage", storage)
    assert status == 0
    assert "exp[/x]" in listed
    assert "a[bold]b" in listed
    assert "\\x1b[31m" in listed
    made: set[str] = set()
    for name in NAMES:
        before = made
        status, said = run(capfd, "report", "--storage", storage, "--", name)
        made = {path.name for path in Path("runs").iterdir()} if Path("runs").is_dir() else set()
        if name in (*OUTSIDE, STEERING, "n" * 255, "exp[/x]"):
            assert "cannot name a folder; give --out FOLDER" in said
            assert made == before
        else:
            assert status == 0, said
            assert made - before == {name}
        assert run(capfd, "fit", "--storage", storage, "--", name)[0] == 2
        assert run(capfd, "compare", "--storage", storage, f"--study={name}", "--data", "no such")[0] == 2
    for name in ("../../evil", STEERING):
        assert run(capfd, "show", "--storage", storage, "--", name)[0] == 0
        assert run(capfd, "report", "--storage", storage, "--out", "runs/given", "--", name)[0] == 0
    page = Path("runs/given/report.html").read_text()
    assert "<script>alert" not in page


@pytest.mark.parametrize("name", [*OUTSIDE, STEERING, "", "a\0b", "n" * 201, "ü" * 101, "NUL.txt", "LPT¹", "Artifacts"])
def test_such_a_name_names_no_folder(name: str) -> None:
    with pytest.raises(UserError, match=r"^study: .* cannot name a folder; give --out FOLDER$"):
        results_folder(name)


def test_a_folder_of_another_case_is_another_study_s(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("runs/mine").mkdir(parents=True)
    assert check_folder("runs/mine") == Path("runs/mine")
    Path("runs/Mine").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", lambda folder: ["mine"])  # where upper and lower case are one
        with pytest.raises(UserError, match="is the folder of a study whose name differs in case"):
            check_folder("runs/Mine")


@pytest.mark.parametrize("identity", ["../precious", "/abs/precious", "precious", "..", "", "x\0"])
def test_an_artifact_of_a_storage_leads_to_no_other_file(place: Path, identity: str) -> None:
    study = optuna.create_study()
    file, store = place / "runs" / "report.html", place / "runs" / "artifacts"
    store.mkdir(parents=True)
    file.write_text("ours")
    precious = [place / "runs" / "precious", store / "precious"]
    for path in precious:
        path.write_text("kept")
    meta = {"artifact_id": identity, "filename": "report.html", "mimetype": "text/html", "encoding": None}
    study._storage.set_study_system_attr(study._study_id, "artifacts:1", json.dumps(meta))
    keep_artifacts(study, [file], store)
    assert [path.read_text() for path in precious] == ["kept"] * 2
    assert sorted(path.read_text() for path in store.iterdir()) == ["kept", "ours"]


BAD: list[Any] = [None, True, -1, 0, 1, 3.5, -2.5, 1e300, 1e-300, float("nan"), float("inf"), 10**30, 10**12]
BAD += ["", "x", STEERING, "../../evil", "1", [], [1], [STEERING], ["a", "b"], [None], [-1, 2], [[1]], [{}]]
BAD += [{}, {"x": 1}, {STEERING: STEERING}, {"1": [1]}]


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the parts of a stored value lie."""
    if above:
        yield above
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from places(inner, (*above, key))
    elif isinstance(value, list | tuple) and value:
        for index in {0, len(value) - 1}:
            yield from places(value[index], (*above, index))


def spoil(attrs: dict[str, Any], rng: random.Random) -> None:
    """Change, leave out or rename a part of what is stored."""
    *above, last = rng.choice(list(places(attrs)))
    inner: Any = attrs
    for key in above:
        if isinstance(inner[key], tuple):
            inner[key] = list(inner[key])
        inner = inner[key]
    new, how = rng.choice(BAD), rng.choice(["set"] * 6 + ["leave out", "rename"])
    if how == "set":
        inner[last] = copy.deepcopy(new)
    else:
        old = inner.pop(last)
        if how == "rename" and isinstance(inner, dict):
            inner[f"{PREFIX if not above else ''}{new}"] = old


@pytest.fixture(scope="module")
def written(make_study: Callable[..., optuna.Study]) -> list[optuna.Study]:
    """Studies with all that l2tune stores: of its own trainer, and of a user's function."""
    ours = make_study(lambda s: 0.2 + abs(s - 1e-3), lambda s: 0.1 + s, strengths=(0.0, 1e-5, 1e-4, 1e-3, 1e-2))
    record = RefitRecord(1e-3, 0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.01, 1100, 900, {"conv1": [100, 0, 10, 0]}, [0] * 64)
    write_refit(ours, record)
    join_comparison(ours, "both", ["l2", "l1"])
    widen_range(ours, 1e-7, 1.0)
    theirs = make_study(lambda s: 0.2 + abs(s - 1e-3), lambda s: 0.1 + s, strengths=(0.0, 1e-4, 1e-2))
    theirs.set_user_attr("l2tune:trainer", {"engine": "function", "function": "m:fit", "folds": 5, "epochs": None})
    theirs.set_user_attr("l2tune:metric", Metric("loss", kind="positive").asdict())
    return [ours, theirs]


def look(study: optuna.Study) -> None:
    """All that shows a study."""
    assert len(listed_study(study).cells()) == 8
    found = load_study(study._storage, study.study_name)
    tradeoff = Tradeoff.from_study(found)
    page = render(tradeoff)
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert results_json(tradeoff)
    assert trials_csv(tradeoff)
    for table in tables(tradeoff).values():
        assert table_bytes(table, "csv")
        assert table_bytes(table, "parquet")
    assert render_terminal(tradeoff)
    if tradeoff.curve is not None:
        code_to_paste(tradeoff.record, tradeoff.best_lambda)
    publish(found, tradeoff)


def test_what_another_program_wrote_is_shown_or_refused(written: list[optuna.Study]) -> None:
    for study in written:
        assert look(study) is None, "as it was written nothing is refused"
    shown = 0
    for example in range(EXAMPLES):
        rng = random.Random(example)
        study = rng.choice(written)
        attrs, trials = copy.deepcopy(study.user_attrs), study.get_trials()
        for _ in range(rng.choice([1, 1, 2])):
            spoil(attrs if rng.random() < 0.5 else rng.choice(trials).user_attrs, rng)
        spoilt = optuna.create_study(direction=study.direction)
        for key, value in attrs.items():
            spoilt.set_user_attr(key, value)
        spoilt.add_trials(trials)
        try:
            look(spoilt)
            shown += 1
        except UserError:
            continue
        except Exception as error:
            raise AssertionError(f"example {example} is neither shown nor refused") from error
    assert shown


@pytest.mark.parametrize("stored", [None, 3, "x", [], {}, {"name": "both"}, {"name": 3, "penalties": ["l1"]}])
def test_a_study_that_claims_a_part_in_a_comparison_spoils_no_other(
    place: Path, capfd: pytest.CaptureFixture[str], stored: Any
) -> None:
    storage = "sqlite:///foreign.db"
    make_foreign(storage, "mine", "lambda")
    optuna.create_study(storage=storage, study_name="other").set_user_attr(COMPARISON, stored)
    capfd.readouterr()
    for words in (["list"], ["show", "mine"], ["report", "mine"]):
        assert run(capfd, *words, "--storage", storage)[0] == 0


@pytest.mark.parametrize("name", ["../../evil", STEERING, "both"])
def test_a_comparison_is_shown_and_does_not_lead_out(
    place: Path, capfd: pytest.CaptureFixture[str], written: list[optuna.Study], name: str
) -> None:
    storage = "sqlite:///foreign.db"
    for number in range(2):
        study = make_foreign(storage, f"{number}{STEERING}", STEERING)
        join_comparison(study, name, ["l1", STEERING])
    for number, form in enumerate(("l1", "l2")):
        study = optuna.create_study(storage=storage, study_name=f"mine{number}")
        for key, value in written[0].user_attrs.items():
            study.set_user_attr(key, value)
        study.set_user_attr("l2tune:settings", {**written[0].user_attrs["l2tune:settings"], "penalty": form})
        join_comparison(study, name, ["l1", STEERING])
        study.add_trials(written[0].trials)
    capfd.readouterr()
    assert run(capfd, "list", "--storage", storage)[0] == 0
    run(capfd, "show", "--storage", storage, "--", name)
    status, said = run(capfd, "report", "--storage", storage, "--", name)
    if name != "both":
        assert status == 2
        assert "cannot name a folder" in said
        assert not Path("runs").exists()
    run(capfd, "report", "--storage", storage, "--out", "runs/given", "--", name)
    run(capfd, "fit", "--storage", storage, "--", name)


def test_an_attribute_of_another_kind_is_named(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    storage = "sqlite:///foreign.db"
    study = make_foreign(storage, "mine", "lambda")
    study.set_user_attr("l2tune:trainer", {"folds": 10**12})
    capfd.readouterr()
    assert run(capfd, "show", "mine", "--storage", storage) == (
        2,
        "l2tune: study 'mine': its attribute 'l2tune:trainer', folds is not as l2tune stores it (Input should be less "
        "than or equal to 100000); another program wrote it: use a copy of the storage from before, or another study\n",
    )
    assert "written by another program" in run(capfd, "list", "--storage", storage)[1]
    assert open_storage(storage, must_exist=True)
