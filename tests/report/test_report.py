"""The files of a report, what the terminal and the dashboard show; how they look in a browser is in test_browser."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta

from l2tune import UserError
from l2tune.commands.results import print_verdict
from l2tune.penalty.strength import format_lambda
from l2tune.report.dashboard import keep_artifacts, publish
from l2tune.report.figures import gap_figure
from l2tune.report.html import render as render_html
from l2tune.report.pictures import STILL
from l2tune.report.tables import results
from l2tune.report.terminal import render as render_terminal
from l2tune.report.tradeoff_figure import tradeoff_figure
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]


@pytest.fixture
def study(make_valley: MakeStudy) -> optuna.Study:
    return make_valley()


@pytest.fixture
def tradeoff(study: optuna.Study) -> Tradeoff:
    return Tradeoff.from_study(study)


def system_attrs(study: optuna.Study) -> dict[str, str]:
    """Where the dashboard keeps notes and plots."""
    return dict(study._storage.get_study_system_attrs(study._study_id))


def shown(page: str) -> str:
    """The page without its scripts, and without the marks around numbers."""
    page = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r'<span class="whole">(.*?)</span>', r"\1", page)


def test_all_formats_are_written(tradeoff: Tradeoff, tmp_path: Path) -> None:
    paths = tradeoff.report(tmp_path / "runs/x")
    assert [path.name for path in paths] == ["report.html", "results.json", "trials.csv", "curve.csv"]
    assert len(pd.read_csv(tmp_path / "runs/x/trials.csv")) == 5 * len(tradeoff.strengths)
    with pytest.raises(UserError, match="'pdf' is no format"):
        tradeoff.report(tmp_path / "other", formats=["html", "pdf"])
    assert not (tmp_path / "other").exists()


def test_results_hold_what_was_found(tradeoff: Tradeoff) -> None:
    found = results(tradeoff)
    assert found["best_lambda"] == tradeoff.best_lambda
    assert found["weight_decay"] == 2 * tradeoff.best_lambda
    assert found["fits"] == 5 * len(tradeoff.strengths)
    assert found["fold_epochs"] == 4 * found["fits"]
    assert found["gain"]["lambda"] == tradeoff.best_lambda
    json.dumps(found, allow_nan=False)


def test_the_page_leads_with_the_verdict_and_the_number_to_paste(tradeoff: Tradeoff) -> None:
    page = shown(render_html(tradeoff))
    assert page.index("weight_decay=") < page.index("Validation over λ")
    for heading in ("Overfitting and underfitting", "Bias and variance", "Learning curves", "Fold by fold"):
        assert f"<h3>{heading}</h3>" in page
    assert "l2tune search" in page
    assert "[training]" in page


def test_the_page_loads_nothing_from_elsewhere(tradeoff: Tradeoff) -> None:
    page = render_html(tradeoff)
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=", page)
    assert "default-src 'none'" in page


def test_names_cannot_break_the_page(make_valley: MakeStudy) -> None:
    name, engine = "<script>alert(1)<b>&\"'", "</script><script>alert(2)</script>"
    t = Tradeoff.from_study(make_valley(name=name, trainer={"engine": engine}))
    page = render_html(t)
    assert "<script>alert(" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_page_about_divergence_alone(make_valley: MakeStudy) -> None:
    t = Tradeoff.from_study(make_valley(diverged=lambda s: True))
    page = shown(render_html(t))
    assert "Every fit diverged" in page
    assert 'id="tradeoff"' not in page
    assert "Every fit diverged" in render_terminal(t, 80)


def test_a_page_of_a_user_s_own_study(tmp_path: Path) -> None:
    study = optuna.create_study()
    for strength in (1e-4, 1e-3, 1e-2):
        trial = study.ask({"lambda": optuna.distributions.FloatDistribution(1e-6, 1, log=True)})
        for fold in range(3):
            trial.report((trial.params["lambda"] - 1e-3) ** 2 + 0.1 + 0.01 * fold, fold)
        study.tell(trial, strength)
    assert (Tradeoff.from_study(study).report(tmp_path)[0]).stat().st_size > 1_000_000


def test_a_long_study_stays_small(make_valley: MakeStudy) -> None:
    strengths = (0.0, *(10 ** (-6 + 6 * k / 198) for k in range(199)))
    t = Tradeoff.from_study(make_valley(strengths=strengths, folds=10, epochs=20))
    assert len(render_html(t)) < 4e6
    for figure in (tradeoff_figure(t), gap_figure(t)):
        assert figure is not None
        assert len(figure.to_json()) < 400_000


def test_the_terminal_draws_the_shape(tradeoff: Tradeoff) -> None:
    text = render_terminal(tradeoff, 80, ascii_only=True)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 90
    assert "lambda" in text
    drawn = [line for line in text.splitlines() if "|" in line]
    assert "*" in "".join(drawn[-3:]), "the best λ lies low"
    assert re.search(r"<+=+>+", text)


def test_the_dashboard_gets_note_figures_and_names(study: optuna.Study, tradeoff: Tradeoff) -> None:
    from optuna_dashboard import get_note

    publish(study, tradeoff)
    before = system_attrs(study)
    publish(study, tradeoff)
    answer, *rest = (f.text for f in tradeoff.findings if f.text in tradeoff.verdict)
    note = get_note(study).replace("\\", "")
    assert note.startswith(f"**{answer}**\n\n- ")
    assert all(f"- {text}\n" in note for text in rest)
    assert study.metric_names == ["validation loss"]
    plots = {key: value for key, value in system_attrs(study).items() if key.startswith("dashboard:plot_data:")}
    assert set(plots) == {key for key in before if key.startswith("dashboard:plot_data:")}, "replaced, not added"
    for name in (f"l2tune-{name}" for name in STILL):
        assert 0 < sum(len(value) for key, value in plots.items() if name in key) < 50_000
    notes = [value for key, value in system_attrs(study).items() if ":note_str:" in key and key.count(":") > 2]
    assert any("best λ" in note for note in notes)


def test_notes_of_the_users_own_are_left(study: optuna.Study, tradeoff: Tradeoff) -> None:
    from optuna_dashboard import get_note, save_note

    save_note(study, "do not touch")
    publish(study, tradeoff)
    assert get_note(study) == "do not touch"
    save_note(study, "")
    publish(study, tradeoff)
    ours = get_note(study)
    assert ours.startswith("**Use λ")
    save_note(study, f"{ours}\n\nmine, below yours")
    publish(study, tradeoff)
    assert get_note(study).endswith("mine, below yours")
    save_note(study, "### l2tune\nas an earlier version wrote it")
    publish(study, tradeoff)
    assert get_note(study) == ours


def test_artifacts_are_replaced_not_piled_up(study: optuna.Study, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    for text in ("first", "second"):
        file.write_text(text)
        keep_artifacts(study, [file], tmp_path / "artifacts")
    [meta] = get_all_artifact_meta(study)
    assert meta.filename == "report.html"
    with FileSystemArtifactStore(str(tmp_path / "artifacts")).open_reader(meta.artifact_id) as kept:
        assert kept.read() == b"second"


@pytest.mark.parametrize("form", ["l1", "elastic"])
def test_no_output_speaks_of_a_weight_decay_that_there_is_not(
    make_valley: MakeStudy, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_valley(
        settings={"penalty": form, "lambda_range": (1e-6, 1.0), "reference_weight_decay": 5e-4},
        trainer={
            "regularization": {"everything": False, "exceptions": {"left_out": [], "taken": []}} | REACH,
            "regularized_parameters": 90,
            "parameters": 100,
        },
    )
    t = Tradeoff.from_study(study)
    assert t.weight_decay is None
    found = results(t)
    assert found["weight_decay"] is None
    assert "l2tune.proximal_step(optimizer, model, " in found["code"]["with_import"]
    assert "torch.clamp(p, -t, t)" in found["code"]["plain"]
    page = render_html(t)
    told = [shown(page), *re.findall(r"<script type=.application/json.[^>]*>.*?</script>", page, flags=re.DOTALL)]
    told = [text.replace("reference_weight_decay", "").replace("no weight decay", "") for text in told]
    assert not any("weight decay" in text or "weight_decay" in text for text in told)
    assert "<h3>To train with the best λ</h3>" in page
    publish(study, t)
    assert not any("weight decay" in note for note in system_attrs(study).values() if isinstance(note, str))
    print_verdict(t)
    printed = capsys.readouterr().out
    assert "weight_decay" not in printed
    assert "\nTo use it:\n    import l2tune\n" in printed


REACH = {"tensors": 2, "matrices": 100, "left_out": 0, "largest": [], "directions": 0}


@pytest.mark.parametrize(
    ("settings", "everything", "where"),
    [
        ({}, False, " on the penalized weights, 0 on the rest"),
        ({"scale": {"fc*": 0.1}}, False, " on the penalized weights, times their multipliers, 0 on the rest"),
        ({"regularize": "all"}, True, ""),
    ],
)
def test_a_weight_decay_says_what_takes_it(
    make_valley: MakeStudy, settings: dict[str, object], everything: bool, where: str
) -> None:
    known = {"everything": everything, "exceptions": {"left_out": [], "taken": []}} | REACH
    trainer = {"regularization": known, "regularized_parameters": 90, "parameters": 100}
    t = Tradeoff.from_study(make_valley(settings=settings, trainer=trainer))
    decay = f"weight_decay={format_lambda(2 * t.best_lambda)}"
    assert f": {decay}{where}{',' if where else ''} in torch.optim.SGD (" in t.verdict
    page = shown(render_html(t))
    name, _, number = decay.partition("=")
    assert f"<span>{name}=</span><b>{number}</b></p>" in page
    assert f'<p class="note">in PyTorch{where}; best λ' in page
    assert ("is the same." in page) == everything
    assert "λ acts on 90 of 100 parameters, in 2 tensors." in page
