"""Results of a study that other workers go on with."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from l2tune.commands.results import write_results
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]


def test_results_told_while_the_files_are_written_are_in_them(
    tmp_path: Path, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(lambda s: 0.5 + (math.log10(s + 1e-5) + 3) ** 2 / 10, lambda s: 0.1 + s)
    trials = len(study.trials)
    late = [study.trials[-1], study.trials[-2]]
    report = Tradeoff.report

    def report_slowly(self: Tradeoff, *words: object, **named: object) -> object:
        if late:
            study.add_trial(late.pop())
        return report(self, *words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Tradeoff, "report", report_slowly)
    tradeoff = write_results(study, str(tmp_path), ("json",))
    assert tradeoff is not None
    assert not late
    assert json.loads((tmp_path / "results.json").read_text())["trials"] == trials + 2
