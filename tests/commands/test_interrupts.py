import signal
import weakref

import pytest

from l2tune.commands.interrupts import lasting_interrupts
from l2tune.search.undisturbed import undisturbed


class Finalized:
    """Gets Ctrl-C while it is finalized."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_in_a_finalizer_is_raised_afterwards() -> None:
    with lasting_interrupts() as raise_if_interrupted:
        raise_if_interrupted()
        Finalized()
        with pytest.raises(KeyboardInterrupt):
            raise_if_interrupted()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_is_raised_again() -> None:
    thing = type("Thing", (), {})()
    with lasting_interrupts() as raise_if_interrupted:
        reference = weakref.ref(thing, lambda gone: signal.raise_signal(signal.SIGINT))
        del thing
        assert reference() is None
        with pytest.raises(KeyboardInterrupt):
            raise_if_interrupted()


def test_an_interrupt_is_raised_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), lasting_interrupts():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_interrupt_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with lasting_interrupts() as raise_if_interrupted:
            signal.raise_signal(signal.SIGINT)
            raise_if_interrupted()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_operation_of_a_storage_is_not_cut_in_two():
    reached = []

    def operation():
        with undisturbed():
            with undisturbed():
                signal.raise_signal(signal.SIGINT)
            reached.append("the end")
        reached.append("beyond")

    with pytest.raises(KeyboardInterrupt), lasting_interrupts():
        operation()
    assert reached == ["the end"]
    with lasting_interrupts(), undisturbed():
        pass  # nothing is left over
