"""'To do it again': only what would do it again."""

from collections.abc import Callable

import optuna
import pytest

from l2tune.metrics import Metric
from l2tune.report.again import again, known_settings
from l2tune.tradeoff import Tradeoff

MakeStudy = Callable[..., optuna.Study]


def told(study: optuna.Study) -> tuple[str, tuple[str, ...]]:
    """(notes, listings)."""
    found = again(Tradeoff.from_study(study).record)
    return " ".join(found.notes), found.listings


def test_our_trainer_is_repeated_by_a_command_and_a_file(make_valley: MakeStudy) -> None:
    notes, [command, toml] = told(make_valley())
    assert command.startswith("l2tune search --study constructed")
    assert 'optimizer = "sgd"' in toml
    assert notes == ""


@pytest.mark.parametrize("data", ["images", "data", "arrays of mine"])
def test_data_given_in_python_have_no_command(make_valley: MakeStudy, data: str) -> None:
    notes, listings = told(make_valley(settings={"data": data}))
    assert f"The data ({data!r}) was given in Python" in notes
    assert not any("l2tune search" in listing for listing in listings)


@pytest.mark.parametrize("model", ["__main__:build", "mine:f.<locals>.g", "mine:<lambda>", "functools:partial"])
def test_a_model_that_cannot_be_imported_has_no_command(make_valley: MakeStudy, model: str) -> None:
    notes, listings = told(make_valley(settings={"model": model}))
    assert f"The model ({model!r}) was given in Python" in notes
    assert not any("l2tune search" in listing for listing in listings)


@pytest.mark.parametrize("model", ["small_resnet", "resnet18", "package.nets:build"])
@pytest.mark.parametrize("data", ["cifar10", "photos/", "package.sets:make", "one.npz"])
def test_sources_and_references_have_one(make_valley: MakeStudy, data: str, model: str) -> None:
    notes, [command, _] = told(make_valley(settings={"data": data, "model": model}))
    assert f"--data {data} --model {model}" in command
    assert notes == ""


def test_a_study_of_the_user_s_own_around_our_trainer_keeps_its_name(make_valley: MakeStudy) -> None:
    study = make_valley()
    settings = dict(study.user_attrs["l2tune:settings"]) | {"study": "digits"}
    study.set_user_attr("l2tune:settings", settings)
    notes, [command, toml] = told(study)
    assert "inside a study of your own" in notes
    assert "--study constructed" in command
    assert "digits" not in toml.partition("[data]")[0]
    kept = known_settings(Tradeoff.from_study(study).record)
    assert kept["optimizer"] == "sgd"
    assert not {"study", "storage", "out", "sampler", "pruner", "trials"} & set(kept)


def test_settings_that_are_refused_today_are_shown_as_they_were(make_valley: MakeStudy) -> None:
    study = make_valley()
    study.set_user_attr("l2tune:settings", dict(study.user_attrs["l2tune:settings"]) | {"optimizer": "lion"})
    notes, [listing] = told(study)
    assert "'lion' does not fit" in notes
    assert '"optimizer": "lion"' in listing


def test_a_function_is_repeated_in_python(make_own: MakeStudy) -> None:
    study = make_own(
        Metric("f1", maximize=True, kind="proportion"),
        strengths=(0.0, 1e-3),
        parameter="C",
        name="mine",
        seed=3,
        lambda_range=(1e-5, 10.0),
    )
    notes, [listing] = told(study)
    source = study.user_attrs["l2tune:trainer"]["source"]
    lines = [line.strip() for line in listing.splitlines()]
    assert lines[0] == "objective = CrossValidationObjective("
    assert any(line.startswith("fit=") and source in line for line in lines)
    assert {
        "folds=3,",
        "metric=Metric('f1', maximize=True, kind='proportion'),",
        "parameter='C',",
        "scale='C',",
        "lambda_range=(1e-05, 10.0),",
        "seed=3,",
    } <= set(lines)
    assert "study = optuna.create_study(study_name='mine', direction='maximize')" in lines
    assert "sampler and pruner are not stored" in notes
    for word in ("digits", "simple_cnn", "sgd", "l2tune search"):
        assert word not in listing


def test_repeats_are_no_folds(make_own: MakeStudy) -> None:
    _, [listing] = told(make_own("mse", repeats=2, strengths=(0.0, 1e-3)))
    assert "    folds=3,\n    repeats=2," in listing


def test_an_objective_tells_nothing_but_its_parameter_and_direction(make_objective: MakeStudy) -> None:
    notes, listings = told(make_objective(parameter="C", direction="maximize", name="theirs"))
    assert listings == ()
    assert (
        "the study 'theirs' maximizes what is called 'score' here, over its parameter 'C' (on the scale of C)" in notes
    )
