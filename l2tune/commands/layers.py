"""`l2tune layers`: which parameters of a network λ acts on, and how strongly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from l2tune.commands.flags import with_settings
from l2tune.settings import build

if TYPE_CHECKING:
    from l2tune.penalty.weights import Taken


@with_settings
def layers_command(
    file: Annotated[str | None, Parameter(help="A TOML file of settings; flags override it")] = None,
    /,
    **given: Any,
) -> None:
    """Every parameter of a network: its shape, its layer, and whether and how strongly λ acts on it.

    What is left out is told with the reason. Nothing is trained or stored. Choose others with --regularize, and
    multipliers with --scale.
    """
    settings = build(given, file, flags=True)

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from l2tune.analysis.wording import count, reach
    from l2tune.assemble import make_problem
    from l2tune.terminal_text import one_line, readable

    problem = make_problem(settings)
    found = problem.taken
    console = Console(highlight=False)

    def cell(text: str) -> Text:
        """As it is: a name such as `[bold]` is no markup."""
        return Text(readable(one_line(text), console.encoding))

    table = Table(box=None, pad_edge=False)
    for title in ("parameter", "shape", "number", "layer", "λ acts"):
        table.add_column(cell(title), justify="right" if title == "number" else "left", overflow="fold")
    for taken in found:
        table.add_row(*map(cell, _row(taken)))
    console.print(table, width=None if console.is_terminal else 200)
    acts = sum(taken.parameter.numel() for taken in found if taken.multiplier)
    everything = sum(taken.parameter.numel() for taken in found)
    tensors = count(sum(taken.multiplier > 0 for taken in found), "tensor")
    console.print(cell(f"{reach(acts, everything)} in {tensors}"), soft_wrap=True)
    problem.check()


def _row(taken: Taken) -> tuple[str, ...]:
    """A parameter's cells."""
    shape = "×".join(map(str, taken.parameter.shape)) or "scalar"
    factor = "λ" if taken.multiplier == 1 else f"{taken.multiplier:g} λ"
    acts = factor if taken.multiplier else f"no: {taken.why_not}"
    return taken.name, shape, f"{taken.parameter.numel():,}", taken.role.kind, acts
