"""The door: a study's estimates, its verdict in words, its report, and the final network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import Finding, findings, in_brief
from l2tune.errors import UserError
from l2tune.members import Refit
from l2tune.metrics import Metric, as_metric
from l2tune.penalty.strength import ScaleName
from l2tune.records.observations import known_parameter
from l2tune.records.parameter import parameter_of
from l2tune.records.study import metric_of
from l2tune.records.tables import read_study

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    import plotly.graph_objects as go

    from l2tune.objectives.cross_validation import CrossValidationObjective
    from l2tune.report.sentence import SentenceFormat

FigureName = Literal["tradeoff", "gap", "bias_variance", "learning", "weights", "network", "replay"]


@dataclass(frozen=True, eq=False, repr=False)
class Tradeoff(Estimates):
    """The analysis of a study: all attributes of `Estimates`, and what to do with them.

    Of a study that was searched, finished or not:

        tradeoff = Tradeoff.from_study(study)
        print(tradeoff.verdict)
        tradeoff.report("runs/mine")

    The last line writes `report.html`, `results.json`, `trials.csv` and `curve.csv`.
    """

    @classmethod
    def from_study(
        cls,
        study: optuna.Study,
        *,
        metric: str | Metric | None = None,
        parameter: str | None = None,
        scale: ScaleName | None = None,
    ) -> Tradeoff:
        """Analyse a study, finished or not, l2tune's or a user's own (one intermediate value per fold).

        Args:
            metric: What the values of a study of the user's own are; its direction must fit.
            parameter: Name of the strength in a study that does not keep it; by default its one log-scaled float.
            scale: Of its numbers; by default what the name tells.

        Raises:
            UserError: No fold has a score yet, or which parameter is the strength is not known.
        """
        found = known_parameter(study, parameter_of(study, parameter, scale))
        given = None
        if metric is not None:
            given, own = as_metric(metric, maximize=metric_of(study).maximize), metric_of(study)
            if len(study.directions) == 1 and given.maximize != own.maximize:
                raise UserError(
                    f"of the metric {given.name!r} {'more' if given.maximize else 'less'} is better, "
                    f"but the study {'maximizes' if own.maximize else 'minimizes'}",
                    f"study {study.study_name!r}",
                    "name the metric that its values are",
                )
        return cls.from_record(read_study(study, found, given))

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All that is worth telling, the most important first."""
        return tuple(findings(self))

    @cached_property
    def verdict(self) -> str:
        """Two to four sentences for people."""
        return in_brief(self.findings)

    def __repr__(self) -> str:
        """Five lines: the study, λ_best, λ_1se, the score there and without a penalty."""
        from l2tune.report.in_short import in_five_lines

        return in_five_lines(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict and the curve."""
        from l2tune.report.in_short import as_html

        return as_html(self)

    def to_frame(self) -> pd.DataFrame:
        """One row per λ, a copy of `strengths`."""
        return self.strengths.copy()

    def plot(self, figure: FigureName = "tradeoff") -> go.Figure:
        """A figure of the report, as plotly's: a notebook shows it, else `.show()` does, or `.write_html(…)` writes it.

        Args:
            figure: `tradeoff`: the validation metric over λ, above training; `gap`: overfitting and underfitting;
                `bias_variance`: of the folds' predictions; `learning`: curves over epochs; `weights`: their size;
                `network`: what the network is like at the end; `replay`: how the search went, in frames.

        Raises:
            UserError: There is no such figure, or the study has not recorded what it shows.
        """
        from l2tune.report.figures import FIGURES

        if figure not in FIGURES:
            raise UserError(f"{figure!r} is no figure", "plot", f"give one of {', '.join(FIGURES)}")
        drawn = FIGURES[figure](self)
        if drawn is None:
            raise UserError("has not recorded what this figure shows", f"study {self.record.name!r}, plot {figure!r}")
        return drawn

    def sentence(self, format: SentenceFormat = "text") -> str:
        """The result for a paper: how λ was chosen, λ_best with its interval, the score, the gain and its test, λ_1se.

        What keeps the answer from being final is said, too.

        Args:
            format: `text`; `md`, Markdown; `tex`, LaTeX, which cites Nadeau and Bengio (2003) as
                `nadeau2003inference` (`sentence.tex` of a report has the entry).

        Raises:
            UserError: It is none of these.
        """
        from l2tune.report.sentence import sentence

        return sentence(self, format)

    def report(self, folder: str | Path, formats: Sequence[str] = ("html", "json", "csv")) -> list[Path]:
        """Write the files of a report.

        Args:
            formats: `html`: `report.html`; `json`: `results.json`; `csv`: `trials.csv`, and `curve.csv` where there is
                a curve; `svg` and `png`: a picture of each figure, named as in `plot`; `md` and `tex`: `sentence.md`
                and `sentence.tex`, as in `sentence`.

        Returns:
            Their paths.

        Raises:
            UserError: An unknown format; for pictures also nothing to draw, or no browser that draws them.
            OSError: A file cannot be written; the old one is left.
        """
        from l2tune.report.files import write

        return write(self, Path(folder), formats)

    def refit(
        self,
        trainer: CrossValidationObjective | Callable[[float, int], Any] | None = None,
        *,
        one_se: bool = False,
        strength: float | None = None,
        seed: int | None = None,
    ) -> Refit:
        """Train the final network on all training data with the chosen λ.

        Args:
            trainer: The objective that was searched with; or a function `refit(strength, seed)` that returns a model,
                or (model, scores), and is called with the number on the study's own scale. Without one, l2tune's
                trainer is set up again from what the study stores.
            one_se: Use λ_1se, the strongest that is as good, instead of λ_best.
            strength: Use this λ instead.
            seed: Of the initial weights and the batch order; by default the search's.

        Raises:
            UserError: There is no λ, the study does not tell how it was trained, or the data have changed.
        """
        given: Any = strength
        if given is not None and one_se:
            raise UserError("strength and one_se were both given", "refit", "give one of them")
        if given is not None and not isinstance(given, Real):
            raise UserError(f"{given!r} is no λ to train with", "refit", "give strength= a number")
        if not (trainer is None or hasattr(trainer, "train_final") or callable(trainer)):
            raise UserError(f"{trainer!r} cannot be called", "refit", "give a function refit(strength, seed)")
        chosen = strength if strength is not None else self.one_se_lambda if one_se else self.best_lambda
        if not 0 <= chosen < float("inf"):
            raise UserError(f"{chosen} is no λ to train with", "refit", "search again, or give strength=")
        seed = int(self.record.settings.get("seed", 0)) if seed is None else seed
        train_final = getattr(trainer, "train_final", None)
        if train_final is not None:
            found: Refit = train_final(chosen, seed)
            return found
        if trainer is not None:
            function: Any = trainer
            return Refit.of(function(self.record.parameter.scale.from_lambda(chosen), seed), chosen)
        from l2tune.assemble import assemble_again

        if self.record.trained_by != "l2tune":
            raise UserError(
                f"a function of yours trained it ({self.record.trainer.get('function', 'not stored')})",
                f"study {self.record.name!r}",
                "give tradeoff.refit(function), called as function(strength, seed)",
            )
        _, assembled = assemble_again(self.record)
        return assembled.refit(chosen, seed)
