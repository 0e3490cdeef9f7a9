"""The command line as a user meets it: in processes of its own."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import processes
import pytest

QUICK = ("--subset", "200", "--epochs", "2", "--folds", "3", "--trials", "6")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return processes.run(folder, *words, COLUMNS="100", PYTHONWARNINGS="default")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a quick search on real digits has run."""
    folder = tmp_path_factory.mktemp("searched")
    done = run(folder, "search", *QUICK)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder


def test_search_writes_results_trials_and_report(searched: Path) -> None:
    out = searched / "runs/digits"
    results = json.loads((out / "results.json").read_text())
    numbers = {"best_lambda", "weight_decay", "one_se_lambda", "best_value", "best_standard_error", "baseline_value"}
    cost = {"fits", "fold_epochs", "trials", "seconds"}
    assert {"study", "metric", "settings", "versions"} | numbers | cost <= set(results)
    assert results["weight_decay"] == 2 * results["best_lambda"]
    assert results["trials"] <= 6
    assert results["fold_epochs"] == 2 * results["fits"]
    header, *rows = (out / "trials.csv").read_text().splitlines()
    assert header.startswith("trial,lambda,fold,state,final,")
    assert {"epochs", "val_loss", "train_loss", "val_error", "weight_norm", "seconds"} <= set(header.split(","))
    assert len(rows) >= results["fits"]
    page = (out / "report.html").read_text()
    assert "<script src=" not in page
    assert "weight_decay" in (searched / "stdout.txt").read_text()


def test_a_search_that_is_not_in_a_terminal_prints_plain_lines(searched: Path) -> None:
    lines = (searched / "stderr.txt").read_text()
    assert "trial 1: λ 0 (baseline): loss" in lines
    assert "\x1b" not in lines
    assert "Warning" not in lines


def test_search_again_goes_on_instead_of_starting_over(searched: Path) -> None:
    again = run(searched, "search", *QUICK)
    assert again.returncode == 0, again.stderr
    assert "going on with study 'digits'" in again.stderr
    assert "0 fits" in again.stderr


def test_other_settings_are_refused_and_nothing_is_changed(searched: Path) -> None:
    before = {p: p.read_bytes() for p in searched.rglob("*") if p.is_file()}
    refused = run(searched, "search", *QUICK[:-4], "--folds", "4")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        "l2tune: study 'digits' was begun otherwise: folds was 3, now 4; "
        "use another --study, or --restart to delete it and start over"
    )
    assert {p: p.read_bytes() for p in searched.rglob("*") if p.is_file()} == before


def test_report_show_and_list_need_storage_alone(searched: Path) -> None:
    out = searched / "runs/digits"
    kept = {name: (out / name).read_bytes() for name in ("results.json", "trials.csv")}
    for name in kept:
        (out / name).unlink()
    report = run(searched, "report", "digits")
    assert report.returncode == 0, report.stderr
    assert {name: (out / name).read_bytes() for name in kept} == kept
    show = run(searched, "show", "digits")
    assert show.returncode == 0, show.stderr
    assert "weight_decay" in show.stdout
    listed = run(searched, "list")
    assert listed.returncode == 0, listed.stderr
    assert "digits" in listed.stdout


def test_fit_saves_a_network_that_loads(searched: Path) -> None:
    from safetensors.torch import load_file

    from l2tune.models.simple_cnn import simple_cnn

    done = run(searched, "fit", "digits", "--one-se", "--out", "final")
    assert done.returncode == 0, done.stderr
    fit = json.loads((searched / "final/fit.json").read_text())
    results = json.loads((searched / "runs/digits/results.json").read_text())
    assert fit["lambda"] == results["one_se_lambda"]
    assert 0 < fit["test_loss"] < 3
    simple_cnn((1, 8, 8), 10).load_state_dict(load_file(searched / "final/model.safetensors"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["search", "--epochs", "x"], 'l2tune: Invalid value for --epochs: unable to convert "x" into int.'),
        (["search", "--epochs", "0"], "l2tune: --epochs: 0 does not fit; it should be greater than or equal to 1"),
        (["search", "--epohs", "3"], "l2tune: Unknown option: --epohs. Did you mean --epochs?"),
        (["search", "no.toml"], "l2tune: no.toml: no such file; give the path of a TOML file, or flags alone"),
        (
            ["search", "--data", "mnits"],
            "l2tune: --data mnits: no such data set, folder or file; did you mean 'mnist'?",
        ),
        (["search", "--device", "cuda:7"], "l2tune: --device: 'cuda:7' is not here"),
        (["search", "--model", "resnet81"], "l2tune: --model resnet81: no such model; did you mean 'resnet18'?"),
        (["search", "--folds", "900"], "l2tune: --folds: class"),
        (
            ["search", "--storage", "sqlite:///no/such/s.db"],
            "l2tune: --storage sqlite:///no/such/s.db: the folder no/such",
        ),
        (["report", "digits"], "l2tune: --storage sqlite:///l2tune.db: no such storage; give the --storage that"),
        (["fit", "digits"], "l2tune: --storage sqlite:///l2tune.db: no such storage; give the --storage that"),
        (["serch"], 'l2tune: Unknown command "serch". Did you mean "search"?'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path: Path, words: list[str], line: str) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(line), done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def interrupted(folder: Path, number: int) -> subprocess.CompletedProcess[str]:
    """A search that gets a signal once its second trial is done."""
    words = ("search", *QUICK[:-1], "30", "--pruner", "none", "--sampler", "random")
    process = processes.begin(folder, *words)
    process.until("trial 2:")
    process.send_signal(number)
    try:
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess(words, process.wait(), out, errors)


def test_ctrl_c_writes_the_report_from_what_is_there(tmp_path: Path) -> None:
    done = interrupted(tmp_path, signal.SIGINT)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "interrupted" in done.stderr
    assert json.loads((tmp_path / "runs/digits/results.json").read_text())["trials"] >= 2
    assert "weight_decay" in done.stdout or "No " in done.stdout


def test_a_killed_search_is_taken_up_again(tmp_path: Path) -> None:
    killed = interrupted(tmp_path, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    report = run(tmp_path, "report", "digits")
    assert report.returncode == 0, report.stderr
    flags = [*QUICK[:-1], "4", "--pruner", "none", "--sampler", "random"]
    again = run(tmp_path, "search", *flags)
    assert again.returncode == 0, again.stderr
    results = json.loads((tmp_path / "runs/digits/results.json").read_text())
    assert results["trials"] == 4, again.stderr
    assert " done; " in again.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from l2tune.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'optuna', 'pandas', 'plotly', 'sklearn', 'scipy', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for words in (["--help"], ["search", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_two_searches_at_once_share_one_study(tmp_path: Path) -> None:
    flags = [*QUICK[:-1], "8", "--pruner", "none", "--sampler", "random"]
    both = [processes.begin(tmp_path, "search", *flags) for _ in range(2)]
    for process in both:
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
    assert run(tmp_path, "report", "digits").returncode == 0
    results = json.loads((tmp_path / "runs/digits/results.json").read_text())
    assert results["trials"] == 8
    rows = (tmp_path / "runs/digits/trials.csv").read_text().splitlines()[1:]
    assert len({row.split(",")[1] for row in rows}) == 8, "every λ once, the baseline too"
