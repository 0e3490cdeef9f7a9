"""What `tune` gives: the tradeoff, and how to train the final network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from l2tune.errors import innermost
from l2tune.members import Refit
from l2tune.tradeoff import Tradeoff
from l2tune.tuning.arguments import RefitAt

if TYPE_CHECKING:
    import optuna

    from l2tune.objectives.asked_fit import AskedFit
    from l2tune.objectives.cross_validation import CrossValidationObjective


@dataclass(frozen=True, eq=False, repr=False)
class Tuned(Tradeoff):
    """What `tune` found: a `Tradeoff` that knows how to train, and the final network where one was asked for.

    Attributes:
        study: Optuna's study, for whatever else is to be read.
        final: The final network: its λ (`strength`), the `model` that `fit` returned (None where it returned scores
            alone) and its `scores`; None where no refit was asked for.
    """

    study: optuna.Study = field(kw_only=True)
    final: Refit | None = field(default=None, kw_only=True)
    _fit: AskedFit = field(kw_only=True, repr=False)
    _test: Callable[[Any], Any] | None = field(default=None, kw_only=True, repr=False)

    @classmethod
    def of(cls, found: Tradeoff, **given: Any) -> Tuned:
        """A tradeoff, with what `tune` knows beside it."""
        return cls(**{part.name: getattr(found, part.name) for part in fields(Tradeoff)}, **given)

    @property
    def test(self) -> Mapping[str, float]:
        """Scores of the final network on what no fold has seen; empty where there are none."""
        return {} if self.final is None else self.final.scores

    @property
    def model(self) -> Any:
        """The final network; None where none was trained, or `fit` returned scores alone."""
        return None if self.final is None else self.final.model

    def refit(
        self,
        trainer: CrossValidationObjective | Callable[[float, int], Any] | None = None,
        *,
        one_se: bool = False,
        strength: float | None = None,
        seed: int | None = None,
    ) -> Refit:
        """Train on all samples but the test's, by the `fit` that was tuned, and score that on the test samples.

        Args: as of `Tradeoff.refit`.

        Raises:
            UserError: There is no λ, or `fit` cannot train on all samples.
        """
        if trainer is None:
            self._fit.check_final()
            trainer = self._train_final
        return super().refit(trainer, one_se=one_se, strength=strength, seed=seed)

    def _train_final(self, number: float, seed: int) -> Any:
        model, scores = self._fit.final(number, seed, self.record.others)
        if self._test is not None:
            found = self._test(model)
            named = found if isinstance(found, Mapping) else {self.record.metric.name: found}
            scores = scores | {_test_name(str(name)): value for name, value in named.items()}
        return model, scores


class RefitFailed(RuntimeError):
    """The search has ended well, but the final network could not be trained or scored.

    Attributes:
        tradeoff: What the search found.
    """

    def __init__(self, message: str, tradeoff: Tuned) -> None:
        super().__init__(message)
        self.tradeoff = tradeoff


def with_final(tuned: Tuned, at: RefitAt) -> Tuned:
    """The same with the final network.

    Raises:
        RefitFailed: It could not be trained or scored.
    """
    try:
        final = tuned.refit(one_se=at == "one_se")
    except Exception as error:
        raise RefitFailed(f"the final network could not be trained ({innermost(error)})", tuned) from error
    own = {name: getattr(tuned, name) for name in ("study", "_fit", "_test")}
    return Tuned.of(tuned, **own, final=final)


def _test_name(name: str) -> str:
    return name if name.startswith("test_") else f"test_{name}"
