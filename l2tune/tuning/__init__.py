"""`tune`: a search around training code of the user's own, in one call."""

from __future__ import annotations

from l2tune.tuning.call import tune as tune
from l2tune.tuning.tuned import RefitFailed as RefitFailed
from l2tune.tuning.tuned import Tuned as Tuned
