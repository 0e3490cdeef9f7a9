"""Which workers are alive: each lets a heartbeat change in the storage, and watches that of the others.

Nothing is compared with a clock but one's own, and that one stands still while this process is suspended or the storage
does not answer: clocks may be hours apart, processes may sleep, servers may be restarted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Self

import optuna
from optuna.trial import FrozenTrial

from l2tune.optuna_internals import was_queued
from l2tune.records.workers import worker_of

BEAT_SECONDS = 2.0
"""Between two heartbeats."""

GRACE_SECONDS = 20.0
"""A worker whose heartbeat has not changed for so long is taken for dead. Wrongly so, it loses the fit it is at."""

_JOIN_SECONDS = 5.0


class AwakeClock:
    """Seconds during which this process was running and the storage answered it.

    Args:
        longest: What passes between two ticks counts as so much at most.
    """

    def __init__(self, longest: float = 2 * BEAT_SECONDS, now: Callable[[], float] = time.monotonic) -> None:
        self._longest, self._now = longest, now
        self._last, self._seconds = now(), 0.0
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """So far."""
        return self._seconds

    def tick(self) -> float:
        """Count the time since the last tick, now that the storage has answered; returns the seconds so far."""
        with self._lock:
            now = self._now()
            self._seconds += min(now - self._last, self._longest)
            self._last = now
            return self._seconds


class Watch:
    """Judges by their heartbeats which trials' workers are alive.

    Args:
        clock: Of this process.
        grace: Seconds without a heartbeat after which a worker is taken for dead.
    """

    def __init__(self, clock: AwakeClock | None = None, grace: float | None = None) -> None:
        self.clock = clock or AwakeClock()
        self._grace = GRACE_SECONDS if grace is None else grace
        self._seen: dict[Hashable, tuple[object, float, bool]] = {}

    def look(self, key: Hashable, signs: object) -> None:
        """Note the signs of life of something, as the storage has just told them."""
        now = self.clock.tick()
        before = self._seen.get(key)
        if before is None or before[0] != signs:
            self._seen[key] = signs, now, before is not None

    def silence(self, key: Hashable) -> float:
        """For how many seconds its signs of life have not changed, as far as it was looked at."""
        return self.clock.seconds - self._seen[key][1]

    def was_heard(self, key: Hashable) -> bool:
        """Whether they have changed since the first look."""
        return self._seen[key][2]

    def is_alive(self, key: Hashable) -> bool:
        """Whether they have changed, and not too long ago."""
        return self.was_heard(key) and not self.is_dead(key)

    def is_dead(self, key: Hashable) -> bool:
        """Whether they have not changed for too long."""
        return self.silence(key) >= self._grace


def can_be_lost(trial: FrozenTrial) -> bool:
    """Whether a running trial is a worker's, or so young that nothing tells: others are of a loop of the user's own."""
    if worker_of(trial) is not None:
        return True
    begun = trial.params or trial.intermediate_values
    return not begun and (was_queued(trial) or not trial.user_attrs)


class Heart:
    """Lets heartbeats change, those of trials in training for one, in a thread of its own, from `with` to its end.

    Attributes:
        clock: Ticks with each heartbeat that was written.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.clock = AwakeClock()
        self._seconds = BEAT_SECONDS if seconds is None else seconds
        self._beats: dict[Hashable, tuple[Callable[[int], None], Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="l2tune-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(_JOIN_SECONDS)  # a storage that does not answer holds up nobody

    def add(self, key: Hashable, write: Callable[[int], None], on_taken: Callable[[], None] = lambda: None) -> None:
        """Beat for something.

        Args:
            write: Writes a heartbeat, a number that is another each time.
            on_taken: Called, in the heart's thread, when `write` finds that another worker has given it up.
        """
        with self._lock:
            self._beats[key] = write, on_taken

    def remove(self, key: Hashable) -> None:
        """Beat for this no longer."""
        with self._lock:
            self._beats.pop(key, None)

    def _run(self) -> None:
        count = 0
        while not self._end.wait(self._seconds):
            count += 1
            with self._lock:
                beats = list(self._beats.items())
            for key, (write, on_taken) in beats:
                try:
                    write(count)
                    self.clock.tick()
                except optuna.exceptions.UpdateFinishedTrialError:
                    with self._lock:
                        ended = self._beats.pop(key, None) is None  # by this worker itself, meanwhile
                    if not ended:
                        on_taken()
                except Exception:  # the worker itself meets what is wrong with the storage, and says so
                    break
