"""Which parameter is the strength, and what its numbers mean."""

import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from l2tune.errors import UserError
from l2tune.penalty.strength import ScaleName, StrengthScale, scale_of
from l2tune.records.parameter import DEFAULT, StrengthParameter, keep_parameter, parameter_of


def study_with(**params: float | str) -> optuna.Study:
    """A study with one complete trial; names that end in `_log` are on a log scale (without the ending)."""
    study = optuna.create_study()
    study.add_trial(
        optuna.trial.create_trial(
            value=1.0,
            params={name.removesuffix("_log"): value for name, value in params.items()},
            distributions={
                name.removesuffix("_log"): CategoricalDistribution(["a", "b"])
                if isinstance(value, str)
                else FloatDistribution(1e-6, 1.0, log=name.endswith("_log"))
                for name, value in params.items()
            },
        )
    )
    return study


@pytest.mark.parametrize(
    ("params", "name", "scale"),
    [
        ({"weight_decay_log": 0.1, "momentum": 0.9}, "weight_decay", "weight_decay"),
        ({"C_log": 0.1}, "C", "C"),
        ({"alpha_log": 0.1, "kind": "a"}, "alpha", "alpha"),
        ({"my_reg_log": 0.1}, "my_reg", "lambda"),
        ({"lambda_log": 0.1, "lr_log": 0.1}, "lambda", "lambda"),
        ({"lambda": 0.1, "lr_log": 0.1}, "lambda", "lambda"),
    ],
)
def test_the_one_log_scaled_float_is_the_strength(params: dict[str, float | str], name: str, scale: str) -> None:
    found = parameter_of(study_with(**params))
    assert found is not None
    assert (found.name, found.scale.name) == (name, scale)


@pytest.mark.parametrize("params", [{}, {"momentum": 0.9}, {"lr_log": 0.1, "wd_log": 0.1}])
def test_none_or_several_are_not_guessed(params: dict[str, float | str]) -> None:
    study = study_with(**params)
    assert parameter_of(study) is None
    assert parameter_of(study, "wd") == StrengthParameter("wd", StrengthScale("weight_decay"))
    assert parameter_of(study, "wd", "lambda") == StrengthParameter("wd")


def test_what_a_study_keeps_goes_before_and_is_not_contradicted() -> None:
    study = study_with(lr_log=0.1, wd_log=0.1)
    keep_parameter(study, StrengthParameter("wd", StrengthScale("weight_decay")))
    keep_parameter(study, DEFAULT)
    assert parameter_of(study) == StrengthParameter("wd", StrengthScale("weight_decay"))
    assert parameter_of(study, "wd") == parameter_of(study)
    with pytest.raises(UserError, match="its strength is 'wd' on the scale 'weight_decay', not 'lr' on 'lambda'"):
        parameter_of(study, "lr")
    with pytest.raises(UserError, match="not 'wd' on 'C'"):
        parameter_of(study, "wd", "C")


@pytest.mark.parametrize(("name", "number"), [("lambda", 0.02), ("weight_decay", 0.04), ("alpha", 0.02), ("C", 50.0)])
def test_numbers_of_every_scale(name: str, number: float) -> None:
    scale = scale_of(name)
    assert scale.name == name
    assert scale.from_lambda(0.02) == pytest.approx(number)
    assert scale.to_lambda(number) == pytest.approx(0.02)
    assert scale.to_lambda(scale.from_lambda(0.0)) == 0.0
    low, high = scale.range_from_lambda(1e-4, 1e-1)
    assert low < high
    assert scale.range_to_lambda(low, high) == pytest.approx((1e-4, 1e-1))


def test_no_regularization_is_an_infinite_c() -> None:
    assert StrengthScale("C").from_lambda(0.0) == math.inf
    assert StrengthScale("C").to_lambda(0.0) == math.inf


def test_ranges_of_distributions() -> None:
    parameter = StrengthParameter("C", StrengthScale("C"))
    assert parameter.range(FloatDistribution(0.1, 100.0, log=True)) == pytest.approx((0.01, 10.0))
    assert DEFAULT.range(FloatDistribution(0.0, 1.0)) == (1e-9, 1.0)
    assert DEFAULT.range(IntDistribution(1, 5)) == (1.0, 5.0)
    assert DEFAULT.range(CategoricalDistribution([0.0, 1e-4, 1e-2, "none"])) == (1e-4, 1e-2)
    assert DEFAULT.range(CategoricalDistribution(["a", "b"])) is None
    assert DEFAULT.range(FloatDistribution(-1.0, 1.0)) is None


def test_the_parameters_of_a_queued_trial() -> None:
    parameter = StrengthParameter("C", StrengthScale("C"))
    assert parameter.params(0.01, (("lr", 0.1),)) == {"lr": 0.1, "C": 100.0}
    assert parameter.params(0.0, {"lr": 0.1}) == {"lr": 0.1}
    assert parameter.others({"lr": 0.1, "C": 3.0, "a": "b"}) == (("a", "b"), ("lr", 0.1))


@pytest.mark.parametrize(
    ("scale", "value"), [("lambda", -3.0), ("lambda", None), ("lambda", math.nan), ("alpha", math.inf), ("C", 0.0)]
)
def test_a_number_that_is_no_strength_is_refused(scale: ScaleName, value: float | None) -> None:
    with pytest.raises(UserError, match=f"^parameter 'p': {value} is no strength on the scale '{scale}'; draw the"):
        StrengthParameter("p", StrengthScale(scale)).strength({"p": value})
