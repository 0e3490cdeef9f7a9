"""What any number of a fold's network is expected to be over λ, on all folds, though few λ were run on all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l2tune.curve.observations import Observations, fit_curve
from l2tune.metrics import Metric


def over_all_folds(
    seen: Observations,
    strength: NDArray[np.float64],
    fold: NDArray[np.int64],
    values: NDArray[np.float64],
    *,
    log: bool = False,
) -> pd.Series[float]:
    """The mean over all folds at every λ that was run: measured where all are done, else what is to be expected.

    Means over whichever folds are done at a λ have those folds' luck. The curve of the search, fitted to these values
    in place of the costs, knows it: every fold has an effect of its own.

    Args:
        seen: Of the study: its folds and its range.
        strength: (n,) λ, 0 for the baseline.
        fold: (n,) fold index.
        values: (n,) NaN where not known, which leaves out the λ.
        log: Take logarithms first, of values above 0 that span decades.

    Returns:
        λ, rising → mean.
    """
    finite = np.isfinite(values) & ((values > 0) if log else True)
    kept = finite & ~np.isin(strength, np.unique(strength[~finite]))
    if not kept.any():
        return pd.Series(dtype=float)
    numbers = np.log(values[kept]) if log else values[kept]
    rows = pd.Series(values[kept]).groupby(strength[kept])
    found: pd.Series[float] = rows.mean()
    lacking = found.index[rows.count() < seen.folds]
    if len(lacking):
        curve = fit_curve(
            replace(
                seen,
                strength=strength[kept],
                fold=fold[kept],
                cost=numbers,
                trial=np.zeros(int(kept.sum()), np.int64),
                metric=Metric("number"),
                first_estimate=None,
                guide=None,
            )
        )
        assert curve is not None
        expected = curve.mean(lacking.to_numpy())
        found[lacking] = np.exp(expected) if log else expected
    return found
