"""`l2tune export`: tables for other tools."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest

from l2tune.cli import main
from l2tune.report.export import table_bytes, tables
from l2tune.search.storage import open_storage
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def study(make_study: MakeStudy) -> optuna.Study:
    return make_study(lambda s: 0.2 + s, lambda s: 0.1 + s, storage=open_storage("s.db"), name="mine")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_every_table_comes_back_as_it_was(study: optuna.Study, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "mine", "--storage", "s.db", "--format", kind])
    assert ended.value.code == 0
    files = [Path(line) for line in capsys.readouterr().out.splitlines()]
    expected = tables(Tradeoff.from_study(study))
    assert [file.stem for file in files] == list(expected)
    assert {"fits", "epochs", "trials", "strengths", "curve", "layers"} <= set(expected)
    assert all(file.parent == Path("runs/mine/tables") for file in files)
    for file in files:
        found = pd.read_csv(file) if kind == "csv" else pd.read_parquet(file)
        table = expected[file.stem]
        assert list(found.columns) == list(table.columns)
        assert len(found) == len(table)
        for name in table.columns:
            if pd.api.types.is_float_dtype(table[name].dtype):
                assert found[name].to_numpy(float) == pytest.approx(table[name].to_numpy(float), nan_ok=True)
            elif pd.api.types.is_bool_dtype(table[name].dtype):
                assert found[name].tolist() == table[name].tolist()


def test_choices_between_text_and_numbers_are_written_as_json(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"choice": ["a", 1, None, 2.5, True], "text": ["x", None, "half \ud800", "", "λ"]}, dtype=object
    )
    (tmp_path / "t.parquet").write_bytes(table_bytes(table, "parquet"))
    found = pd.read_parquet(tmp_path / "t.parquet")
    assert [None if pd.isna(value) else value for value in found["choice"]] == ['"a"', "1", None, "2.5", "true"]
    assert [None if pd.isna(value) else value for value in found["text"]] == ["x", None, "half \\ud800", "", "λ"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nobody"], "l2tune: 'nobody': no such study in this storage; it holds 'mine'"),
        (["mine", "--out", "s.db"], "l2tune: --out s.db: s.db is a file; give a folder"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    study: optuna.Study, words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", *words, "--storage", "s.db"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip() == line


def test_a_study_without_a_score_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    optuna.create_study(storage=open_storage("s.db"), study_name="empty")
    with pytest.raises(SystemExit) as ended:
        main(["export", "empty", "--storage", "s.db"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("runs").exists()


def test_parquet_without_its_package_says_what_to_install(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*given: object, **named: object) -> None:
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", missing)
    with pytest.raises(SystemExit) as ended:
        main(["export", "mine", "--storage", "s.db", "--format", "parquet"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip() == "l2tune: --format parquet: needs pyarrow; pip install 'l2tune[parquet]'"
