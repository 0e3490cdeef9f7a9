"""`l2tune watch`: a running search, live, from another terminal or machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from l2tune.commands.interrupts import status_of
from l2tune.errors import UserError

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

    from l2tune.commands.following import Follower
    from l2tune.display import Display


CTRL_C = 130
"""It is how a watch ends; other signals end it as they end other commands."""


def watch_command(
    study: Annotated[str, Parameter(help="Name of the study, or of the comparison")],
    /,
    *,
    storage: Annotated[str, Parameter(help="Storage of the search")] = "sqlite:///l2tune.db",
    once: Annotated[bool, Parameter(help="Print where it stands now, and end", negative=())] = False,
    interval: Annotated[float, Parameter(help="Seconds between two looks at the storage")] = 2.0,
) -> None:
    """Show a running search live: what is in training, trials as they end, the best λ so far, and the time left.

    Ends with the verdict's first line when the search is over, and where that is not known with Ctrl-C. The storage is
    only read. Examples:

        l2tune watch digits
        l2tune watch digits --storage postgresql://user@host/l2tune
        l2tune watch digits --once
    """
    if not 0.1 <= interval <= 86_400:  # not, too, where it is no number
        raise UserError(f"is {interval:g}", "--interval", "give 0.1 to 86400 seconds")

    from rich.console import Console

    from l2tune.display import Display
    from l2tune.process import end_loading
    from l2tune.search.storage import load_study, open_storage

    end_loading()
    opened = open_storage(storage, must_exist=True)
    if not studies_of(opened, study):
        load_study(opened, study)  # names those that there are
    display = Display(Console(highlight=False))
    watching = Watching(opened, study, display)
    if once:
        watching.look()
        for line in watching.lines():
            display.say(line)
        return
    with display:
        try:
            watch(watching, display, interval)
        except KeyboardInterrupt as error:
            if status_of(error) != CTRL_C:
                raise
    if watching.over:
        for line in verdicts(opened, study):
            display.say(line)


def watch(watching: Watching, display: Display, interval: float) -> None:
    """Look again and again until the search is over; a storage that fails is asked again.

    Nothing that runs is looked for twice: between two trials of a search there is an instant without any.
    """
    from l2tune.search.storage import STORAGE_ERRORS, reason

    failed, over = False, 0
    while True:
        try:
            watching.look()
        except (*STORAGE_ERRORS, KeyError) as error:  # KeyError: the study was deleted, perhaps to be begun anew
            if not failed:
                gone = "the study is gone" if isinstance(error, KeyError) else f"the storage failed ({reason(error)})"
                display.say(f"{gone}; trying again every {interval:g} s, until Ctrl-C")
            failed, over = True, 0
            if isinstance(error, KeyError):
                watching.forget()
        else:
            if failed:
                display.say("the storage answers again")
            failed = False
            over = over + 1 if watching.over else 0
            if over > 1:
                return
        time.sleep(interval)


class Watching:
    """A study, or all of a comparison's, followed together.

    Args:
        name: Of the study or comparison.
    """

    def __init__(self, storage: BaseStorage, name: str, display: Display) -> None:
        self._storage, self._name, self._display = storage, name, display
        self._followers: dict[str, Follower] = {}
        self._forms = 0

    def look(self) -> None:
        """Read the storage, and show what is new.

        Raises:
            KeyError: There is no study of this name any more.
        """
        from l2tune.commands.following import Follower
        from l2tune.search.telling import Telling

        found = studies_of(self._storage, self._name) if not self._followers or self._forms else {}
        if not self._followers and not found:
            raise KeyError(self._name)
        for part, study in found.items():
            if part not in self._followers:
                self._followers[part] = Follower(Telling(study), self._display, part=part)
        self._forms = forms_of(found) or self._forms
        for follower in self._followers.values():
            follower.poll()

    def lines(self) -> list[str]:
        """What is going on."""
        return [line for follower in self._followers.values() for line in follower.lines()]

    def forget(self) -> None:
        """Find the studies anew at the next look."""
        self._followers.clear()

    @property
    def over(self) -> bool:
        """Whether all searches are over, those of a comparison that are not begun yet among them."""
        followers = self._followers.values()
        return bool(followers) and len(followers) >= self._forms and all(follower.over for follower in followers)


def studies_of(storage: BaseStorage, name: str) -> dict[str, optuna.Study]:
    """Part → study: one without a part's name, or all of a comparison's that were begun; empty if there is none."""
    from l2tune.records.comparison import comparison_studies, is_comparison
    from l2tune.search.storage import load_study, study_exists

    if is_comparison(storage, name):
        return comparison_studies(storage, name)
    return {"": load_study(storage, name)} if study_exists(storage, name) else {}


def forms_of(studies: dict[str, optuna.Study]) -> int:
    """How many studies the comparison will have; 0 where it is none."""
    from l2tune.records.comparison import membership

    found = [own for study in studies.values() if (own := membership(study)) is not None]
    return len(found[0].penalties) if found and "" not in studies else 0


def verdicts(storage: BaseStorage, name: str) -> list[str]:
    """The verdict's first line, of each study of a comparison with its part's name."""
    from l2tune.records.observations import observations
    from l2tune.tradeoff import Tradeoff

    lines = []
    for part, study in studies_of(storage, name).items():
        if len(observations(study).cost):
            first = Tradeoff.from_study(study).verdict.splitlines()[0]
            lines.append(f"{part}: {first}" if part else first)
    return lines
