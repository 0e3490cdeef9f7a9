"""Settings of a comparison: those of one search for each form of the penalty, alike but for the form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from l2tune.errors import UserError
from l2tune.given import as_kind, check_path, shown_value
from l2tune.settings import Settings, build_from, did_you_mean, field_of, read_toml

FORMS: tuple[str, ...] = get_args(field_of("penalty").annotation)
DEFAULT_PENALTIES = ("l2", "l1")
_DEFAULT_OF_ADAMW = ("l2-decoupled", "l1")


@dataclass(frozen=True)
class ComparisonSettings:
    """What is compared, under which name.

    Attributes:
        name: Of the comparison; its studies are called NAME-FORM.
        out: Folder for its page.
        sides: Form → settings of its study, in the order in which they are searched.
    """

    name: str
    out: str
    sides: Mapping[str, Settings]

    @property
    def penalties(self) -> tuple[str, ...]:
        """The forms, in the order in which they are searched."""
        return tuple(self.sides)

    @property
    def first(self) -> Settings:
        """Of the form that is searched first."""
        return next(iter(self.sides.values()))

    @property
    def note(self) -> str:
        """What the forms are with this optimizer, where their names do not tell; else empty."""
        if self.first.training.optimizer == "adam" and "l2-decoupled" in self.sides:
            return "all forms are trained with adam, and l2-decoupled with adam is AdamW"
        return ""


def study_name(name: str, form: str) -> str:
    """The study of a comparison that searches this form."""
    return f"{name}-{form}"


def build_comparison(
    given: Mapping[str, Any],
    penalties: Sequence[str] | str | None = None,
    file: Path | str | None = None,
    *,
    flags: bool = False,
) -> ComparisonSettings:
    """Settings of a comparison from a TOML file, which may hold `penalties = [...]`, and flat names over it.

    Args:
        given: Flat name → value, as `build` takes them. `study` names the comparison, `out` its folder.
        penalties: Two or more forms, or their names with commas between them; by default the file's, else L2 and L1.
        file: TOML file.
        flags: Whether errors should speak of flags rather than of arguments.

    Raises:
        UserError: As `build`; or a form is unknown, named twice, or not to be compared with these settings.
    """
    values = read_toml(file) if file is not None else {}
    in_file = values.pop("penalties", None)
    given = {name: value for name, value in given.items() if value is not None}
    option = (lambda name: f"--{name.replace('_', '-')}") if flags else (lambda name: name)
    if "penalty" in given:
        raise UserError("is one form, and a comparison has several", option("penalty"), f"use {option('penalties')}")
    section = values.get("penalty")
    section = section if isinstance(section, dict) else {}
    if penalties is None and "form" in section:
        fix = f"use {option('penalties')}, or write penalties = [...] at the top of the file instead"
        raise UserError("is one form, and a comparison has several", f"{file}: penalty.form", fix)
    where = option("penalties") if penalties is not None or in_file is None else f"{file}: penalties"
    named = penalties if penalties is not None else in_file
    chosen = _checked(DEFAULT_PENALTIES if named is None else named, where)

    def settings_of(form: str, **own: Any) -> Settings:
        mine = {**section, "form": form}
        others = {name: value for name, value in given.items() if name != "l1_ratio" or form == "elastic"}
        if form != "elastic":
            mine.pop("l1_ratio", None)
        whole = values | ({"penalty": mine} if isinstance(values.get("penalty", {}), dict) else {})
        return build_from(whole, others | own, file, flags=flags)

    uncoupled = settings_of(next(form for form in chosen if form != "l2"))
    if uncoupled.training.optimizer == "adamw":
        if named is None:
            chosen = _DEFAULT_OF_ADAMW
        if "l2" in chosen:
            raise UserError(
                "adamw with the coupled form l2 is Adam",
                option("optimizer") if "optimizer" in given else f"{file}: training.optimizer",
                f"use {option('optimizer')} adam for all forms: l2-decoupled with it is AdamW",
            )
    if "elastic" not in chosen and ("l1_ratio" in given or "l1_ratio" in section):
        place = option("l1_ratio") if "l1_ratio" in given else f"{file}: penalty.l1_ratio"
        raise UserError(
            "has no effect on " + " or ".join(chosen), place, "add elastic to the penalties, or leave it out"
        )
    is_named = "study" in given or values.get("study")
    name = uncoupled.study if is_named else f"{uncoupled.study}-compare"
    folder = given.get("out") or values.get("out")
    sides = {
        form: settings_of(
            form, study=study_name(name, form), out=f"{folder}/{form}" if folder else f"runs/{study_name(name, form)}"
        )
        for form in chosen
    }
    return ComparisonSettings(name, check_path(str(folder or f"runs/{name}")), sides)


def _checked(penalties: Any, where: str) -> tuple[str, ...]:
    """Two or more known forms, each once.

    Raises:
        UserError: They are not.
    """
    if isinstance(penalties, str):
        penalties = [form.strip() for form in penalties.split(",")]
    if not isinstance(penalties, list | tuple):
        raise UserError(f"{shown_value(penalties)} does not fit", where, 'it should be a list, such as ["l2", "l1"]')
    for form in penalties:
        if not isinstance(form, str) or as_kind(form, str, where) not in FORMS:
            raise UserError(f"{shown_value(form)} is no form of the penalty", where, did_you_mean(str(form), FORMS))
    twice = next((form for form in penalties if penalties.count(form) > 1), None)
    if twice is not None:
        raise UserError(f"{twice} is named twice", where, "name each form once")
    if len(penalties) < 2:
        what = f"{penalties[0]} alone is no comparison" if penalties else "is empty"
        raise UserError(what, where, f"name two or more of {', '.join(FORMS)}")
    return tuple(penalties)
