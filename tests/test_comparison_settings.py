"""Settings of a comparison: alike but for the form, named so that they stand in nobody's way, refused in one line."""

from pathlib import Path
from typing import Any

import pytest

from l2tune.comparison_settings import FORMS, build_comparison
from l2tune.errors import UserError
from l2tune.settings import build


def write(folder: Path, text: str) -> Path:
    path = folder / "c.toml"
    path.write_text(text)
    return path


def test_the_studies_differ_in_the_form_and_what_depends_on_it() -> None:
    settings = build_comparison({"epochs": 3, "seed": 7}, "l2,l2-decoupled")
    first, second = (own.identity() for own in settings.sides.values())
    assert {name for name in first if first[name] != second[name]} == {"penalty"}
    assert [own.penalty.form for own in settings.sides.values()] == ["l2", "l2-decoupled"]


def test_a_comparison_never_takes_the_name_of_a_search() -> None:
    for given in ({}, {"model": "linear"}, {"data": "photos/"}):
        settings = build_comparison(given, "l2,l2-loss")
        searched = build(given)
        names = {settings.name, *(own.study for own in settings.sides.values())}
        assert searched.study not in names
        assert len(names) == 3
        folders = {settings.out, *(own.out for own in settings.sides.values())}
        assert searched.out not in folders
        assert len(folders) == 3


def test_name_and_folder_are_as_asked_for() -> None:
    settings = build_comparison({"study": "mine", "out": "there"}, "l2,l2-loss")
    assert (settings.name, settings.out) == ("mine", "there")
    assert [(own.study, own.out) for own in settings.sides.values()] == [
        ("mine-l2", "there/l2"),
        ("mine-l2-loss", "there/l2-loss"),
    ]


def test_a_file_may_name_the_penalties_and_flags_override_it(tmp_path: Path) -> None:
    file = write(tmp_path, 'study = "s"\npenalties = ["l2-loss", "l2"]\n[training]\nepochs = 3\n')
    assert build_comparison({}, None, file).penalties == ("l2-loss", "l2")
    assert build_comparison({}, "l2,l2-decoupled", file).penalties == ("l2", "l2-decoupled")
    assert build_comparison({}, None, file).name == "s"
    file = write(tmp_path, '[penalty]\nform = "l2"\nregularize = "all"\n')
    settings = build_comparison({}, "l2,l2-decoupled", file)
    assert [own.penalty.regularize for own in settings.sides.values()] == ["all", "all"]


def test_a_search_on_such_a_file_says_what_to_use(tmp_path: Path) -> None:
    file = write(tmp_path, 'penalties = ["l2-loss", "l2"]\n')
    with pytest.raises(UserError) as caught:
        build({}, file, flags=True)
    assert str(caught.value) == f"{file}: penalties: are of a comparison; use `l2tune compare {file}`"


def test_with_adam_the_decoupled_form_is_said_to_be_adamw() -> None:
    settings = build_comparison({"optimizer": "adam"}, "l2,l2-decoupled")
    assert settings.note == "all forms are trained with adam, and l2-decoupled with adam is AdamW"
    assert build_comparison({}, "l2,l2-decoupled").note == ""


KNOWN = ", ".join(FORMS)


@pytest.mark.parametrize(
    ("given", "penalties", "line"),
    [
        ({}, "l2,l3", "--penalties: 'l3' is no form of the penalty; did you mean 'l2"),
        ({}, "ridge,l2", f"--penalties: 'ridge' is no form of the penalty; known are {KNOWN}"),
        ({}, "l2,l2", "--penalties: l2 is named twice; name each form once"),
        ({}, "l2", f"--penalties: l2 alone is no comparison; name two or more of {KNOWN}"),
        ({}, (), f"--penalties: is empty; name two or more of {KNOWN}"),
        ({}, ["l2", 3], "--penalties: 3 is no form of the penalty; known are"),
        ({}, 3, '--penalties: 3 does not fit; it should be a list, such as ["l2", "l1"]'),
        ({"penalty": "l2"}, "l2,l2-loss", "--penalty: is one form, and a comparison has several; use --penalties"),
        (
            {"optimizer": "adamw"},
            "l2,l2-decoupled",
            "--optimizer: adamw with the coupled form l2 is Adam; use --optimizer adam for all forms: l2-decoupled "
            "with it is AdamW",
        ),
        ({"epochs": 0}, "l2,l2-loss", "--epochs: 0 does not fit; it should be greater than or equal to 1"),
        ({"study": "a/b"}, "l2,l2-loss", "--study: 'a/b' cannot name a study; use letters, digits, dots and dashes"),
    ],
)
def test_what_cannot_be_compared_is_one_line(given: dict[str, Any], penalties: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        build_comparison(given, penalties, flags=True)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('penalties = ["l2"]', "penalties: l2 alone is no comparison; name two or more of "),
        ("penalties = 3", 'penalties: 3 does not fit; it should be a list, such as ["l2", "l1"]'),
        (
            '[penalty]\nform = "l2"',
            "penalty.form: is one form, and a comparison has several; use --penalties, or write penalties = [...] at "
            "the top of the file instead",
        ),
        (
            'penalties = ["l2", "l2-loss"]\n[training]\noptimizer = "adamw"',
            "training.optimizer: adamw with the coupled form l2 is Adam; use --optimizer adam for all forms",
        ),
        ('penalties = ["l2", "l2-loss"]\npenalty = 3', "penalty: 3 does not fit; "),
    ],
)
def test_a_file_that_cannot_be_compared_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    file = write(tmp_path, text + "\n")
    with pytest.raises(UserError) as caught:
        build_comparison({}, None, file, flags=True)
    assert str(caught.value).startswith(f"{file}: {line}")
    assert "\n" not in str(caught.value)
