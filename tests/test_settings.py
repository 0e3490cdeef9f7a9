import inspect
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2tune.errors import UserError
from l2tune.settings import PLACES, build, differences, field_of

STUDIES = sorted((Path(__file__).parents[1] / "studies").glob("*.toml"))


def line_of(given: dict[str, object], file: Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        build(given, file, flags=True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"epochs": 0}, "--epochs: 0 does not fit; it should be greater than or equal to 1"),
        ({"folds": 1}, "--folds: 1 does not fit; it should be greater than or equal to 2"),
        ({"metric": "accuracy"}, "--metric: 'accuracy' does not fit; it should be 'loss' or 'error'"),
        ({"lr": float("nan")}, "--lr: nan does not fit; it should be a finite number"),
        ({"epoch": 3}, "--epoch: no such setting; did you mean 'epochs'?"),
        (
            {"lambda_range": (0, 1)},
            "--lambda-range: 0 cannot start a log range; give a low end above 0 (λ = 0 is always run as the baseline)",
        ),
        (
            {"optimizer": "adamw", "penalty": "l2"},
            "--optimizer: adamw with the coupled form l2 is Adam; use --optimizer adam, or --penalty l2-decoupled",
        ),
        ({"study": "a/b"}, "--study: 'a/b' cannot name a study; use letters, digits, dots and dashes"),
    ],
)
def test_errors_name_flag_value_and_fix(given: dict[str, object], line: str) -> None:
    assert line_of(given) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[training]\nepoch = 3", "{file}: training.epoch: no such key; did you mean 'epochs'?"),
        ("epochs = 3", "{file}: epochs: no such key; write epochs in the section [training]"),
        ("[search]\nepochs = 3", "{file}: search.epochs: no such key; write epochs in the section [training]"),
        ("[data]\ndata = 'digits'", "{file}: data.data: no such key; write source in the section [data]"),
        ("[trainin]\nepochs = 3", "{file}: trainin: no such key; did you mean 'training'?"),
        (
            "[training]\nepochs = -1",
            "{file}: training.epochs: -1 does not fit; it should be greater than or equal to 1",
        ),
        ("x =", "{file}: is not valid TOML (Invalid value (at end of document))"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "search.toml"
    file.write_text(text)
    assert line_of({}, file) == line.format(file=file)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    assert line_of({}, tmp_path / "no.toml").endswith(
        "no.toml: no such file; give the path of a TOML file, or flags alone"
    )
    assert "use --data FOLDER" in line_of({}, tmp_path)


def test_flags_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "search.toml"
    file.write_text('study = "mine"\n[training]\nepochs = 7\nlr = 0.2\n')
    settings = build({"epochs": 9, "lr": None}, file)
    assert (settings.study, settings.training.epochs, settings.training.lr) == ("mine", 9, 0.2)


def test_defaults_that_depend_on_others() -> None:
    assert build({}).training.lr == 0.1
    assert build({"optimizer": "adam"}).training.lr == 1e-3
    assert build({"optimizer": "adamw"}).penalty.form == "l2-decoupled"
    assert build({"data": "photos/", "model": "pkg.nets:build"}).study == "photos-build"
    assert build({"study": "x"}).out == "runs/x"


@given(
    epochs=st.integers(1, 1000),
    lr=st.floats(1e-6, 10),
    optimizer=st.sampled_from(["sgd", "adam", "adamw"]),
    augment=st.lists(st.sampled_from(["flip", "shift"]), max_size=2),
    subset=st.none() | st.integers(4, 10**6),
    study=st.text("abc-.é ", min_size=1, max_size=5).filter(lambda s: s not in (".", "..")),
)
def test_toml_reads_back_to_the_same_settings(tmp_path_factory: pytest.TempPathFactory, **given: object) -> None:
    settings = build(given)
    file = tmp_path_factory.mktemp("toml") / "s.toml"
    file.write_text(settings.toml(), encoding="utf-8")
    assert build({}, file) == settings


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"data": "photos/", "image_size": 64, "augment": ("flip", "shift"), "extend_range": False},
        {"study": "other name", "lambda_range": (1e-5, 0.5), "optimizer": "adamw", "grayscale": True, "timeout": 60.5},
    ],
)
def test_the_command_parses_back_to_the_same_settings(given: dict[str, object]) -> None:
    import shlex

    from cyclopts import App

    from l2tune.commands.flags import with_settings

    app = App(result_action="return_value")

    @app.default
    @with_settings
    def parse(file: str | None = None, /, **given: object) -> object:
        return build(given, file)

    settings = build(given)
    assert app(shlex.split(settings.command())[2:]) == settings


def test_every_setting_has_help_and_one_flat_name() -> None:
    assert len(set(PLACES.values())) == len(PLACES)
    for name in PLACES:
        assert field_of(name).description, name


def test_identity_leaves_out_what_may_change() -> None:
    free = set(PLACES) - set(build({}).identity())
    assert free == {
        "study",
        "storage",
        "out",
        "device",
        "data_root",
        "engine",
        "trials",
        "timeout",
        "audit",
        "reference_weight_decay",
    }


def test_differences_name_old_and_new() -> None:
    old, new = build({}).identity(), build({"epochs": 10, "augment": ["flip"]}).identity()
    assert differences(old, new) == ["augment was [], now ['flip']", "epochs was 30, now 10"]
    assert differences(old, dict(old)) == []


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.stem)
def test_the_studies_that_come_along_are_valid(file: Path) -> None:
    assert build({}, file).study == tomllib.loads(file.read_text())["study"]
    assert inspect.cleandoc(file.read_text()).startswith("#"), "says in a comment what it takes"
