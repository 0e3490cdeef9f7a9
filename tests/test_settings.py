import inspect
import math
import tomllib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2tune.comparison_settings import build_comparison
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
        ({"metric": "f1"}, "--metric: 'f1' does not fit; it should be 'loss', 'error' or 'accuracy'"),
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
        ({"seed": 2**70}, "--seed: 1180591620717411303424 does not fit; it should be less than or equal to 4294967295"),
        (
            {"lambda_range": (1e-320, 1)},
            "--lambda-range: 9.99989e-321 is no strength to search; stay within 1e-12 and 1e+06",
        ),
        ({"lambda_range": (1, 1e300)}, "--lambda-range: 1e+300 is no strength to search; stay within 1e-12 and 1e+06"),
        (
            {"lambda_range": (1, 1.001)},
            "--lambda-range: 1.0 to 1.001 is no range to search; give a high end 1 % above the low one",
        ),
        ({"lambda_range": (math.nan, 1)}, "--lambda-range: nan does not fit; it should be a finite number"),
        ({"timeout": math.nan}, "--timeout: nan does not fit; it should be a finite number"),
        ({"optimizer": ["sgd"]}, "--optimizer: ['sgd'] does not fit; it should be 'sgd', 'adam' or 'adamw'"),
        ({"study": "\udcff"}, "--study: is not UTF-8 text; write it anew"),
        ({"out": "a\x00b"}, "--out: holds the control character \\x00; write it anew"),
        ({"data": "a\u202eb"}, "--data: holds the control character \\u202e; write it anew"),
        ({"data": "x" * 300}, f"--data: '{'x' * 59}… (302 characters) is too long; give a shorter path"),
        ({"study": "   "}, "--study: ' ' cannot name a study; use letters, digits, dots and dashes"),
        ({"study": "x."}, "--study: 'x.' cannot name a study; use letters, digits, dots and dashes"),
        (
            {"study": "é" * 101},
            f"--study: '{'é' * 59}… (103 characters) cannot name a study; use letters, digits, dots and dashes",
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
        ("[training]\nepochs = 3.7", "{file}: training.epochs: 3.7 does not fit; it should be a whole number"),
        ("[training]\nepochs = 3.0", "{file}: training.epochs: 3.0 does not fit; it should be a whole number"),
        ("[training]\nepochs = true", "{file}: training.epochs: True does not fit; it should be a whole number"),
        ("[training]\nepochs = '3'", "{file}: training.epochs: '3' does not fit; it should be a whole number"),
        ("[training]\nlr = '0.1'", "{file}: training.lr: '0.1' does not fit; it should be a number"),
        ("[data]\ngrayscale = 1", "{file}: data.grayscale: 1 does not fit; it should be true or false"),
        ("[data]\naugment = 'flip'", "{file}: data.augment: 'flip' does not fit; it should be a list"),
        (
            "[data]\n1 = 2",
            "{file}: data.1: no such key; known are source, root, subset, image_size, grayscale, augment",
        ),
        ("x =", "{file}: is not valid TOML (Invalid value (at end of document))"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "search.toml"
    file.write_text(text)
    assert line_of({}, file) == line.format(file=file)


@pytest.mark.parametrize("text", ["a = " + "[" * 10_000, "a = " + "1" * 5000])
def test_toml_that_python_cannot_read_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "search.toml"
    file.write_text(text)
    assert line_of({}, file).startswith(f"{file}: is not valid TOML (")
    assert "\\x00" in line_of({}, Path("a\0b.toml"))


@pytest.mark.parametrize(
    "value", [3.7, 3.0, True, "3", "1_0", Fraction(3), 10**5000], ids=lambda value: type(value).__name__
)
def test_a_whole_number_is_made_of_nothing_else(value: object) -> None:
    line = line_of({"epochs": value})
    assert line.startswith("--epochs: ")
    assert " does not fit; it should be " in line


def test_numbers_of_numpy_are_numbers() -> None:
    settings = build({"epochs": np.int64(3), "lr": np.float32(0.5)})
    assert settings == build({"epochs": 3, "lr": 0.5})
    assert type(settings.training.epochs) is int


def test_a_name_made_from_long_or_odd_data_can_name_a_study() -> None:
    assert build({"data": "é" * 120 + ".npz"}).study == "é" * 45
    assert build({"data": "a b/c d.npz"}).study == "c-d"


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://bob:{SECRET}@db:5432/l2", "postgresql://bob@db:5432/l2"),
        (f"postgresql://db/l2?user=bob&password={SECRET}", "postgresql://db/l2?user=bob"),
    ],
)
def test_what_is_kept_and_shown_has_no_password(url: str, shown: str) -> None:
    settings = build({"storage": url})
    assert settings.storage == url, "to open it with"
    assert settings.flat()["storage"] == shown
    assert tomllib.loads(settings.toml())["storage"] == shown
    assert shown in settings.command()
    for text in (str(settings.flat()), str(settings.identity()), settings.toml(), settings.command(), repr(settings)):
        assert SECRET not in text
    assert SECRET not in line_of({"storage": [url]})


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


PATTERNS = st.text("abc.*?[]='\" -é", min_size=1, max_size=5).filter(str.strip)


@given(
    epochs=st.integers(1, 1000),
    lr=st.floats(1e-6, 10),
    optimizer=st.sampled_from(["sgd", "adam", "adamw"]),
    augment=st.lists(st.sampled_from(["flip", "shift"]), max_size=2),
    subset=st.none() | st.integers(4, 10**6),
    regularize=st.sampled_from(["weights", "all"]) | st.lists(PATTERNS, min_size=1, max_size=3),
    scale=st.dictionaries(PATTERNS, st.floats(0, 1e6), max_size=3),
    study=st.from_regex(r"[abcé. -]{0,4}[abcé-]", fullmatch=True).filter(lambda s: s[0] != " "),
)
def test_toml_reads_back_to_the_same_settings(tmp_path_factory: pytest.TempPathFactory, **given: object) -> None:
    settings = build(given)
    file = tmp_path_factory.mktemp("toml") / "s.toml"
    file.write_text(settings.toml(), encoding="utf-8")
    assert build({}, file) == settings
    assert list(build({}, file).penalty.scale) == list(settings.penalty.scale), "the last that matches counts"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"data": "photos/", "image_size": 64, "augment": ("flip", "shift"), "extend_range": False},
        {"study": "-x", "data_root": "", "data": "-y"},
        {"regularize": "fc*", "scale": {"fc*": 0.1, "-x=y": 2, "conv1.weight": 0}},
        {"regularize": ["conv?.weight", "-y"], "scale": {"*": 1e-3}},
        {"regularize": "all", "penalty": "elastic", "l1_ratio": 0.3},
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
        "threads",
        "data_root",
        "engine",
        "trials",
        "timeout",
        "storage_patience",
        "fit_timeout",
        "audit",
        "reference_weight_decay",
    }


def test_a_study_of_an_older_version_had_the_defaults_of_newer_settings() -> None:
    now = build({}).identity()
    old = {name: value for name, value in now.items() if name not in ("scale", "l1_ratio")}
    assert old["regularize"] == "weights"
    assert differences(old, now) == []
    assert differences(old, build({"scale": {"fc*": 0.1}}).identity()) == ["scale was none, now fc*=0.1"]
    assert differences(now, build({"regularize": "fc*"}).identity()) == ["regularize was weights, now ['fc*']"]


def test_of_multipliers_the_order_counts() -> None:
    first, second = ({"a*": 1.0, "*b": 2.0}, {"*b": 2.0, "a*": 1.0})
    one, other = (build({"scale": scale}).identity() for scale in (first, second))
    assert differences(one, other) == ["scale was a*=1.0 *b=2.0, now *b=2.0 a*=1.0"]
    assert list(build({"scale": ["a=1", "b=2", "a=3"]}).penalty.scale.items()) == [("b", 2.0), ("a", 3.0)]


def test_differences_name_old_and_new() -> None:
    old, new = build({}).identity(), build({"epochs": 10, "augment": ["flip"]}).identity()
    assert differences(old, new) == ["augment was [], now ['flip']", "epochs was 30, now 10"]
    assert differences(old, dict(old)) == []


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.stem)
def test_the_studies_that_come_along_are_valid(file: Path) -> None:
    own = tomllib.loads(file.read_text())
    name = build_comparison({}, None, file).name if "penalties" in own else build({}, file).study
    assert name == own["study"]
    assert inspect.cleandoc(file.read_text()).startswith("#"), "says in a comment what it takes"
