"""Limits on how long code may take."""

import signal
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from l2tune.errors import TookTooLong
from l2tune.training.time_limit import time_limit


def wait() -> None:
    while True:
        time.sleep(0.001)


def busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No alarm before, such as a limit on the test's own time, and none is left."""
    handler, alarm = signal.signal(signal.SIGALRM, signal.SIG_DFL), signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    left = signal.getitimer(signal.ITIMER_REAL)[0], signal.getsignal(signal.SIGALRM)
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, *alarm)
    assert left == (0, signal.SIG_DFL)


def test_code_that_takes_too_long_is_given_up_where_it_is() -> None:
    with pytest.raises(TookTooLong, match=r"^a fit took longer$") as caught, time_limit(0.02, "a fit took longer"):
        wait()
    assert "wait" in [entry.name for entry in caught.traceback]


def test_code_in_time_is_left_alone() -> None:
    with time_limit(60.0):
        pass
    with time_limit(None):
        pass
    with pytest.raises(KeyError), time_limit(60.0):
        raise KeyError


def test_code_that_catches_all_errors_is_given_up_all_the_same() -> None:
    def stubborn() -> None:
        try:
            wait()
        except Exception:
            wait()
        except BaseException:
            try:
                wait()
            except BaseException as error:
                raise RuntimeError("it was stopped") from error

    with pytest.raises(TookTooLong), time_limit(0.02):
        stubborn()


class Finalized:
    def __del__(self) -> None:
        busy(0.1)


def test_a_limit_that_is_over_in_a_finalizer_is_not_lost() -> None:
    with pytest.raises(TookTooLong), time_limit(0.02):
        Finalized()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_limit_whose_exception_python_drops_is_raised_again() -> None:
    things = [type("Thing", (), {})()]
    reference = weakref.ref(things[0], lambda gone: busy(0.1))

    def drop_and_wait() -> None:
        things.clear()
        assert reference() is None
        wait()

    with pytest.raises(TookTooLong), time_limit(0.02):
        drop_and_wait()


@pytest.mark.parametrize(("outer", "inner"), [(0.02, 60.0), (60.0, 0.02)])
def test_limits_inside_each_other(outer: float, inner: float) -> None:
    def inside() -> None:
        with time_limit(inner, "inner"):
            wait()

    with pytest.raises(TookTooLong, match="outer" if outer < inner else "inner"), time_limit(outer, "outer"):
        inside()


def test_an_alarm_of_the_users_own_goes_on() -> None:
    rung = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(TookTooLong), time_limit(0.01):
            wait()
        while not rung:
            time.sleep(0.001)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_module_that_is_being_loaded_is_loaded_whole(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_module.py").write_text(  # type: ignore[operator]
        "import time\nend = time.monotonic() + 0.1\nwhile time.monotonic() < end: pass\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TookTooLong), time_limit(0.02):
        import slow_module  # type: ignore[import-not-found]
    assert slow_module.whole


def test_in_another_thread_a_watchdog_tells_and_the_code_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2tune.training.time_limit.LEAST_GRACE", 0.01)
    told: list[str] = []
    raised: list[BaseException] = []
    stuck = threading.Event()

    def on_stuck(line: str) -> None:
        told.append(line)
        stuck.set()

    def work() -> None:
        try:
            with time_limit(0.02, "a fit took longer", on_stuck):
                stuck.wait()
        except TookTooLong as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == ["a fit took longer"]
    assert [str(error) for error in raised] == told
