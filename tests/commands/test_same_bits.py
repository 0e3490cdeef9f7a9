"""Same seed, same bits: two searches in processes of their own, and each fit of a search that two processes shared."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from l2tune.assemble import assemble_again
from l2tune.members import make_member
from l2tune.records.fold_record import FoldRecord, fold_records
from l2tune.records.keys import STRENGTH
from l2tune.records.tables import read_study
from l2tune.search.storage import load_study, open_storage

TINY = "--subset 120 --epochs 2 --folds 3 --batch-size 60 --device cpu --seed 5 --quiet"
SECONDS = re.compile(r"fits in [0-9.]+ s of training|took [0-9.]+ s")


def begin(folder: Path, words: str, hash_seed: int) -> subprocess.Popen[bytes]:
    """A search in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, "-m", "l2tune", "search", *TINY.split(), *words.split()]
    command += ["--study", "s", "--storage", "sqlite:///s.db"]
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def untimed(value: Any) -> Any:
    """Without the seconds that anything took."""
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if key != "seconds"}
    return [untimed(inner) for inner in value] if isinstance(value, list) else value


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_the_same_search_again_gives_the_same_bits(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for place, hash_seed in ((first, 1), (second, 2)):
        assert begin(place, "--trials 5", hash_seed).wait(300) == 0
    mine, other = (pd.read_csv(place / "runs/s/trials.csv", dtype=str) for place in (first, second))
    pd.testing.assert_frame_equal(mine.drop(columns="seconds"), other.drop(columns="seconds"))
    told = [json.loads((place / "runs/s/results.json").read_text()) for place in (first, second)]
    assert untimed(told[0]) == untimed(told[1])
    assert told[0]["trainer"]["threads"] == 1, "whose number may change the last digits"
    pages = [SECONDS.sub("", (place / "runs/s/report.html").read_text()) for place in (first, second)]
    assert pages[0] == pages[1]


def test_each_fit_of_two_processes_gives_the_same_bits_alone(tmp_path: Path) -> None:
    words = "--trials 5 --sampler tpe --pruner none --penalty l1 --augment flip --optimizer adam"
    workers = [begin(tmp_path, words, number) for number in range(2)]
    assert [worker.wait(300) for worker in workers] == [0, 0]
    study = load_study(open_storage(f"sqlite:///{tmp_path}/s.db", must_exist=True), "s")
    settings, assembled = assemble_again(read_study(study), device="cpu")
    fits = {
        (trial.user_attrs[STRENGTH], fold): record
        for trial in study.trials
        for fold, record in fold_records(trial).items()
        if record.reused_from is None
    }
    assert len(fits) >= 5 * 3
    with one_thread():
        for (strength, fold), stored in reversed(fits.items()):
            run = assembled.trainer.start([make_member(settings.search.seed, strength, fold)])
            alone = FoldRecord.of([scores for epoch in run for scores in epoch])
            for name in FoldRecord.__dataclass_fields__:
                if name not in ("seconds", "ended"):
                    assert getattr(alone, name) == getattr(stored, name), (strength, fold, name)
