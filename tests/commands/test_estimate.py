"""`l2tune estimate`: a rough λ, and what keeps it from being better."""

import json
import re

import pytest

from l2tune.cli import main


def told(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["estimate", "--subset", "200", *words])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_each_form_has_its_own_estimate_and_only_l2_a_weight_decay(capsys):
    given = ("--epochs", "12", "--model", "linear")
    found = {form: told(capsys, *given, "--penalty", form) for form in ("l2", "l1", "elastic")}
    numbers = {form: float(re.match(r"λ ≈ (\S+)", text).group(1).rstrip(",")) for form, text in found.items()}
    assert len(set(numbers.values())) == 3
    assert "weight decay" in found["l2"]
    assert "weight decay" not in found["l1"] + found["elastic"]
    assert "λ_max" not in found["l2"]
    ends = {form: float(re.search(r"λ_max = (\S+)", found[form]).group(1)) for form in ("l1", "elastic")}
    assert ends["elastic"] == pytest.approx(2 * ends["l1"], rel=0.01)


def test_a_fit_that_was_still_getting_better_is_no_ground_for_an_estimate(capsys):
    falling = "Validation loss was still falling when training ended"
    assert falling in told(capsys, "--epochs", "2", "--optimizer", "adam")
    assert falling not in told(capsys, "--epochs", "25")


def test_scripts_get_json(capsys):
    found = json.loads(told(capsys, "--epochs", "3", "--model", "linear", "--json"))
    assert found["weight_decay"] == pytest.approx(2 * found["lambda"])
    assert found["epochs"] == 3
    assert found["still_falling"] == (found["lowest_epoch"] == 3)
