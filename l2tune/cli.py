"""The command line. Commands are registered by import path, so `--help` imports nothing heavy."""

from __future__ import annotations

import errno
import logging
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError

from l2tune import __version__
from l2tune.commands.interrupts import lasting_interrupts, status_of, told_signal
from l2tune.commands.unheard import write_unheard
from l2tune.errors import SearchAborted, StorageFailed, TrialFailed, UserError, is_out_of_memory, out_of_memory_line
from l2tune.process import begin_loading, own_process
from l2tune.storage_url import without_passwords
from l2tune.terminal_text import one_line, printable, write_readably

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""A full or broken disk, also where the output is sent to one."""

app = App(
    name="l2tune",
    help="How strongly should this network be regularized, and how sure are we?",
    version=__version__,
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
    help_epilogue=(
        "A bare `l2tune search` searches λ for real handwritten digits in one or two minutes.\n\n"
        "Exit status: 0; 1 if a search had to give up; 2 for bad input; 3 if some trials of a search failed; 130 after "
        "Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."
    ),
)
for _name, _help in {
    "search": "Search the best λ by cross-validation; write results.json, trials.csv, curve.csv and report.html.",
    "compare": "Search the best λ for several forms of the penalty, and show them side by side.",
    "worker": "Join a running search, and train for it until its answer is settled.",
    "layers": "List a network's parameters: which ones λ acts on, and how strongly.",
    "estimate": "A first, rough λ in the time of one fit.",
    "watch": "Show a running search live, from another terminal or machine.",
    "show": "Print a study's verdict and curve.",
    "report": "Write a study's results again, from its storage alone.",
    "list": "List the studies in a storage.",
    "export": "Write a study's tables as CSV or Parquet, for other tools.",
    "track": "Log a study's fits and verdict to TensorBoard, MLflow or Weights & Biases.",
    "fit": "Train on all training images with the chosen λ, and save the network.",
    "dashboard": "Open the Optuna dashboard on a storage.",
    "doctor": "Tell versions, devices, threads and storage: what a report of a bug needs.",
}.items():
    app.command(f"l2tune.commands.{_name}:{_name}_command", name=_name, help=_help)
app.register_install_completion_command(help="Install completion for your shell, and say where.")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0, 1 for a search that had to give up, 2 for bad input, 3 for a search of which some
    trials failed, 130 for Ctrl-C, 143 and 129 for SIGTERM and SIGHUP.
    """
    write_unheard()
    write_readably(sys.stdout, sys.stderr)
    # SQLAlchemy raises what goes wrong; what it logs besides is the traceback of a cursor that Ctrl-C has interrupted
    logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())
    own_process()
    begin_loading()
    try:
        with lasting_interrupts():
            app(argv)
    except (CycloptsError, UserError) as error:
        _fail(str(error), 2)
    except (SearchAborted, TrialFailed) as error:
        _fail(str(error), 1)
    except StorageFailed as error:
        _fail(str(error), 1 if error.under_way else 2)
    except KeyboardInterrupt as error:
        _fail(told_signal(error), status_of(error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if is_out_of_memory(error):
            _fail(out_of_memory_line(error), 1)
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            _fail(f"{error.filename or 'output'}: cannot be written or read ({error.strerror})", 1)
        if "optuna" in sys.modules:
            from l2tune.search.storage import DATABASE_ERRORS, reason

            if isinstance(error, DATABASE_ERRORS):
                _fail(f"the storage cannot be read or written ({reason(error)})", 2)
        sys.stderr.write(printable(without_passwords(traceback.format_exc())))
        sys.exit(1)
    sys.exit(0)


def _fail(message: str, status: int) -> NoReturn:
    print(f"l2tune: {one_line(without_passwords(message))}", file=sys.stderr)
    sys.exit(status)
