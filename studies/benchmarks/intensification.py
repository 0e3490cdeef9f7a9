"""SMAC3's search with folds as its instances: challengers race the incumbent, one fold after the other.

Lindauer et al., 'SMAC3: A Versatile Bayesian Optimization Package for Hyperparameter Optimization' (JMLR 23, 2022);
the race is that of SMAC 2.4's `Intensifier`, the proposals are those that its documentation gives few numeric
parameters (`BlackBoxFacade`): eight points of a Sobol sequence, then the highest expected improvement under a Gaussian
process, one in twelve at random. A process is fitted to every fold's score as such, for instances without features
differ by noise to it.

Written anew rather than imported: the package brings 30 others (dask among them) and takes seconds a search. Left out
are its priors on the process's hyperparameters, and doubling: SMAC runs a challenger on 1, then 2, then 4 folds, but
looks after each; with one challenger at a time that is one fold after the other. SMAC 2.4.1 itself, asked and told
beside this by loss, ten seeds on each of five recordings, had 0.97, 1.00, 0.98, 0.98 and 0.39 of the attainable fall
after 31 to 39 fits (median); this had 0.95, 0.99, 0.98, 0.97 and 0.50 after 32 to 35. With its random forest it was no
better.

λ = 0, which no logarithmic range has, is trained on all folds beforehand and kept where the incumbent is no better on
the folds in common. In the end the incumbent gets the folds that it lacks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
from outcome import STRENGTHS, Outcome
from recording import Array, Recording
from scipy.stats import norm, qmc
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

SOBOL = 8
AT_RANDOM = 0.0845
CANDIDATES = 1000


class Race:
    """An incumbent, and who was trained on which folds.

    Args:
        scores: λ → (folds,) scores, of which the race looks at those that it trains.
        folds: How many there are.
        seed: Of the order of folds.

    Attributes:
        seen: λ → fold → score.
        incumbent: The λ to beat; none before the first challenge.
    """

    def __init__(self, scores: Callable[[float], Array], folds: int, seed: int) -> None:
        self._scores, self._folds, self._rng = scores, folds, np.random.default_rng(seed)
        self.seen: dict[float, dict[int, float]] = {}
        self.incumbent: float | None = None

    @property
    def fits(self) -> int:
        """Trained so far."""
        return sum(len(folds) for folds in self.seen.values())

    def challenge(self, strength: float) -> bool:
        """Train a strength on the incumbent's folds; whether it is the incumbent now.

        Rejected as soon as its mean is no better than the incumbent's on the same folds. The first gets one fold.
        """
        if self.incumbent is None:
            self._train(strength, int(self._rng.integers(self._folds)))
        else:
            for fold in self._rng.permutation(list(self.seen[self.incumbent])).tolist():
                self._train(strength, fold)
                if not self.mean(strength) < self.mean(self.incumbent, strength):
                    return False
        self.incumbent = strength
        return True

    def strengthen(self) -> bool:
        """Train the incumbent on one more fold; whether there was one."""
        if self.incumbent is None or len(self.seen[self.incumbent]) == self._folds:
            return False
        left = [fold for fold in range(self._folds) if fold not in self.seen[self.incumbent]]
        self._train(self.incumbent, int(self._rng.choice(left)))
        return True

    def mean(self, strength: float, like: float | None = None) -> float:
        """Over its folds, or over those of another."""
        folds = self.seen[strength if like is None else like]
        return float(np.mean([self.seen[strength][fold] for fold in folds]))

    def _train(self, strength: float, fold: int) -> None:
        self.seen.setdefault(strength, {})[fold] = float(self._scores(strength)[fold])


def proposals(race: Race, low: float, high: float, seed: int) -> Iterator[float]:
    """Strengths without end, the later ones where the fits of the race let the most improvement expect."""
    rng = np.random.default_rng(seed)
    span = np.log(high / low)
    for share in qmc.Sobol(1, seed=seed).random(SOBOL)[:, 0]:
        yield float(low * np.exp(share * span))
    while True:
        candidates = rng.uniform(size=CANDIDATES)
        if rng.uniform() < AT_RANDOM:
            share = candidates[0]
        else:
            places = np.repeat(np.log(np.array(list(race.seen)) / low) / span, [len(f) for f in race.seen.values()])
            scores = np.array([score for folds in race.seen.values() for score in folds.values()])
            share = candidates[expected_improvement(places, scores, candidates, seed).argmax()]
        yield float(low * np.exp(share * span))


def expected_improvement(places: Array, scores: Array, candidates: Array, seed: int) -> Array:
    """(candidates,) over the lowest mean predicted where there is a fit; places between 0 and 1."""
    kernel = ConstantKernel(2.0, (np.exp(-10), np.exp(2))) * Matern(1.0, (np.exp(-6.75), np.exp(0.086)), nu=2.5)
    noise = WhiteKernel(1e-8, (np.exp(-25), np.exp(2)))
    process = GaussianProcessRegressor(kernel + noise, normalize_y=True, n_restarts_optimizer=10, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(places[:, None], scores)
    lowest = process.predict(places[:, None]).min()
    mean, deviation = process.predict(candidates[:, None], return_std=True)
    deviation = np.maximum(deviation, 1e-12)
    z = (lowest - mean) / deviation
    return np.asarray((lowest - mean) * norm.cdf(z) + deviation * norm.pdf(z))


def smac(recording: Recording, seed: int, outcome: Outcome) -> None:
    """Search with as many challengers as the others have strengths."""
    nothing = recording.final(0.0)
    race = Race(recording.final, recording.folds, seed)

    def note() -> None:
        assert race.incumbent is not None
        better = race.mean(race.incumbent) < nothing[list(race.seen[race.incumbent])].mean()
        outcome.note(recording.folds + race.fits, race.incumbent if better else 0.0)

    proposed = proposals(race, *outcome.range, seed)
    for _ in range(STRENGTHS):
        race.strengthen()
        race.challenge(next(proposed))
        note()
    outcome.settled = outcome.costs[-1]
    while race.strengthen():
        note()
    outcome.note_given_up(recording, {strength: len(folds) for strength, folds in race.seen.items()})
