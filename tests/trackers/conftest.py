"""The three tools, each on a folder of the test, and what stands in them afterwards as they read it themselves."""

from __future__ import annotations

import atexit
import json
import shutil
import struct
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from l2tune.trackers.mlflow import MLflowTracker
from l2tune.trackers.tensorboard import TensorBoardTracker
from l2tune.trackers.tracker import Tracker
from l2tune.trackers.wandb import WandbTracker


@pytest.fixture(scope="module", autouse=True)
def as_it_was() -> Iterator[None]:
    """W&B puts a `sys.exit` of its own into the process, and keeps a service running: other tests are without."""
    leave = sys.exit
    yield
    wandb = sys.modules.get("wandb")
    if wandb is not None:
        wandb.teardown()
    sys.exit = leave


@dataclass
class Logged:
    """A run as a tool shows it.

    Attributes:
        metrics: Name → step → value.
    """

    name: str
    params: dict[str, str]
    metrics: dict[str, dict[int, float]] = field(default_factory=dict)
    verdict: str = ""
    parent: str | None = None


class Tool(ABC):
    """A tool of the test's own.

    Attributes:
        place: The file or folder that it writes.
        word: As `--tracker` has it.
    """

    place: Path
    word: str

    @abstractmethod
    def tracker(self, **given: Any) -> Tracker: ...

    @abstractmethod
    def runs(self, *, closed: bool = True) -> tuple[list[Logged], list[Logged]]:
        """The runs of the studies, and those of fits.

        Args:
            closed: Whether the tracker was.
        """

    def fits(self) -> dict[tuple[int, int], Logged]:
        """(trial, fold) → its run; each is there once."""
        found = [((int(float(r.params["trial"])), int(float(r.params["fold"]))), r) for r in self.runs()[1]]
        assert len(dict(found)) == len(found)
        return dict(found)

    def study(self) -> Logged:
        [run] = self.runs()[0]
        return run

    def break_down(self) -> None:
        """What is there cannot be written to any more."""
        shutil.rmtree(self.place)
        self.place.write_text("in the way")

    def mend(self) -> None:
        self.place.unlink()


class TensorBoard(Tool):
    def __init__(self, folder: Path) -> None:
        self.place = folder / "tb"
        self.word = f"tensorboard={self.place}"

    def tracker(self, **given: Any) -> Tracker:
        return TensorBoardTracker(self.place, **given)

    def runs(self, *, closed: bool = True) -> tuple[list[Logged], list[Logged]]:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        studies, fits = [], []
        for folder in sorted({file.parent for file in self.place.rglob("*tfevents*")}):
            events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
            tags = events.Tags()
            scalars = {name: {e.step: e.value for e in events.Scalars(name)} for name in tags["scalars"]}
            if folder.parent == self.place:
                assert set(tags["tensors"]) <= {"settings/text_summary", "verdict/text_summary"}
                texts = {name: events.Tensors(name)[-1].tensor_proto.string_val[0].decode() for name in tags["tensors"]}
                rows = texts.get("settings/text_summary", "").splitlines()[2:]
                params = dict(row.strip("| ").split(" | ") for row in rows)
                studies.append(Logged(folder.name, params, scalars, texts.get("verdict/text_summary", "")))
            else:
                content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
                given = HParamsPluginData.FromString(content).session_start_info.hparams
                params = {name: str(getattr(v, v.WhichOneof("kind"))) for name, v in given.items()}
                fits.append(Logged(folder.name, params, scalars, parent=folder.parent.name))
        return studies, fits


class MLflow(Tool):
    def __init__(self, folder: Path) -> None:
        self.place = folder / "mlflow.db"
        self.uri = f"sqlite:///{self.place}"
        self.word = f"mlflow={self.uri}"
        shutil.copy(empty_mlflow(), self.place)

    def tracker(self, **given: Any) -> Tracker:
        return MLflowTracker(self.uri, **given)

    def runs(self, *, closed: bool = True) -> tuple[list[Logged], list[Logged]]:
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        studies, fits = [], []
        experiment = client.get_experiment_by_name("l2tune").experiment_id
        for run in client.search_runs([experiment], max_results=1000):
            assert run.info.status == "FINISHED"
            metrics = {
                name: {m.step: m.value for m in client.get_metric_history(run.info.run_id, name)}
                for name in run.data.metrics
            }
            parent = run.data.tags.get("mlflow.parentRunId")
            verdict = run.data.tags.get("mlflow.note.content", "")
            logged = Logged(run.info.run_name, dict(run.data.params), metrics, verdict, parent)
            (studies if parent is None else fits).append(logged)
            if parent is None:
                logged.parent = run.info.run_id
        assert {fit.parent for fit in fits} <= {study.parent for study in studies}
        return studies, fits

    def break_down(self) -> None:
        self.place.write_text("in the way" * 1000)

    def mend(self) -> None:
        shutil.copy(empty_mlflow(), self.place)


@cache
def empty_mlflow() -> Path:
    """A database without runs: to make one takes MLflow some seconds."""
    file = Path(tempfile.mkdtemp(prefix="l2tune-mlflow-")) / "empty.db"
    atexit.register(shutil.rmtree, file.parent)
    MLflowTracker(f"sqlite:///{file}")
    return file


class Wandb(Tool):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = folder / "wandb"
        self.word = "wandb"

    def tracker(self, **given: Any) -> Tracker:
        return WandbTracker(folder=self.folder, **given)

    def runs(self, *, closed: bool = True) -> tuple[list[Logged], list[Logged]]:
        """Those that were finished: its service writes the last lines just after it has said that it has."""
        open_ones = 0 if closed else 1  # the study's
        for _ in range(200):
            found = [_wandb_run(file) for file in sorted(self.place.glob("offline-run-*/run-*.wandb"))]
            if found.count(None) <= open_ones:
                break
            time.sleep(0.05)
        whole = [run for run in found if run is not None]
        return [run for kind, run in whole if kind == "study"], [run for kind, run in whole if kind == "fit"]


def _wandb_run(file: Path) -> tuple[str, Logged] | None:
    """Kind of the run and the run; None while it is not finished."""
    from wandb.proto import wandb_internal_pb2

    logged, kind = Logged("", {}), ""
    for content in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(content)
        match record.WhichOneof("record_type"):
            case "run":
                run = record.run
                assert run.project == "l2tune"
                logged.name, kind, logged.parent = run.display_name, run.job_type, run.run_group
                logged.params |= {item.key: str(json.loads(item.value_json)) for item in run.config.update}
            case "history":
                row = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
                for name, value in row.items():
                    if not name.startswith("_"):
                        logged.metrics.setdefault(name, {})[int(row["_step"])] = json.loads(value)
            case "summary":
                for item in record.summary.update:
                    if ("/".join(item.nested_key) or item.key) == "verdict":
                        logged.verdict = json.loads(item.value_json)
            case "exit":
                return kind, logged
    return None


def _records(content: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format (blocks of 32 KiB) behind a header of seven bytes."""
    assert content.startswith(b":W&B")
    at, parts = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last of several
            yield parts
            parts = b""


@pytest.fixture(params=[TensorBoard, MLflow, Wandb], ids=lambda kind: kind.__name__)
def tool(request: pytest.FixtureRequest, tmp_path: Path) -> Tool:
    made: Tool = request.param(tmp_path)
    return made


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing leaves the machine, nothing of its user's is read, and nothing is left in the folder of the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
