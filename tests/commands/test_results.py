"""Results of a study that other workers go on with."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from l2tune.cli import main
from l2tune.commands.results import write_results
from l2tune.search.storage import open_storage
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


def test_show_prints_for_scripts_what_report_writes(
    tmp_path: Path, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_study(lambda s: 0.5 + s, lambda s: 0.1 + s, storage=open_storage("s.db"), name="mine")
    optuna.create_study(storage=open_storage("s.db"), study_name="empty")
    for words in (["report", "mine", "--out", "o", "--format", "json"], ["show", "mine", "--json"]):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*words, "--storage", "s.db"])
        assert ended.value.code == 0
    assert json.loads(capfd.readouterr().out) == json.loads(Path("o/results.json").read_text())
    with pytest.raises(SystemExit) as ended:
        main(["show", "empty", "--json", "--storage", "s.db"])
    assert ended.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert (
        err.strip() == "l2tune: study 'empty': no fold has been scored yet, so there is nothing to tell; search first"
    )
