"""How strongly should this network be regularized, and how sure are we?

The public names below load what they need when they are first asked for, so `import l2tune` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2tune.comparison import Comparison as Comparison
    from l2tune.comparison import compare as compare
    from l2tune.curve.observations import Observations as Observations
    from l2tune.curve.regularization_curve import RegularizationCurve as RegularizationCurve
    from l2tune.data.images import ImageData as ImageData
    from l2tune.errors import SearchAborted as SearchAborted
    from l2tune.errors import TrialFailed as TrialFailed
    from l2tune.errors import UserError as UserError
    from l2tune.members import EpochScores as EpochScores
    from l2tune.members import Member as Member
    from l2tune.members import Refit as Refit
    from l2tune.members import Run as Run
    from l2tune.members import Trainer as Trainer
    from l2tune.metrics import Metric as Metric
    from l2tune.objectives.cross_validation import CrossValidationObjective as CrossValidationObjective
    from l2tune.objectives.pareto import TradeoffObjective as TradeoffObjective
    from l2tune.process import own_process as own_process
    from l2tune.search.pruner import FoldRacingPruner as FoldRacingPruner
    from l2tune.search.sampler import FoldCurveSampler as FoldCurveSampler
    from l2tune.search.stopping import StopWhenSettled as StopWhenSettled
    from l2tune.search.storage import open_storage as open_storage
    from l2tune.trackers.mlflow import MLflowTracker as MLflowTracker
    from l2tune.trackers.tensorboard import TensorBoardTracker as TensorBoardTracker
    from l2tune.trackers.wandb import WandbTracker as WandbTracker
    from l2tune.tradeoff import Tradeoff as Tradeoff
    from l2tune.training.own_loop import parameter_groups as parameter_groups
    from l2tune.training.own_loop import proximal_step as proximal_step
    from l2tune.tuning import RefitFailed as RefitFailed
    from l2tune.tuning import Tuned as Tuned
    from l2tune.tuning import tune as tune

__version__ = "0.1.0"

_HOME = {
    "Comparison": "comparison",
    "CrossValidationObjective": "objectives.cross_validation",
    "EpochScores": "members",
    "FoldCurveSampler": "search.sampler",
    "FoldRacingPruner": "search.pruner",
    "ImageData": "data.images",
    "MLflowTracker": "trackers.mlflow",
    "Member": "members",
    "Metric": "metrics",
    "Observations": "curve.observations",
    "Refit": "members",
    "RefitFailed": "tuning",
    "RegularizationCurve": "curve.regularization_curve",
    "Run": "members",
    "SearchAborted": "errors",
    "StopWhenSettled": "search.stopping",
    "TensorBoardTracker": "trackers.tensorboard",
    "Tradeoff": "tradeoff",
    "TradeoffObjective": "objectives.pareto",
    "Trainer": "members",
    "TrialFailed": "errors",
    "Tuned": "tuning",
    "UserError": "errors",
    "WandbTracker": "trackers.wandb",
    "compare": "comparison",
    "open_storage": "search.storage",
    "own_process": "process",
    "parameter_groups": "training.own_loop",
    "proximal_step": "training.own_loop",
    "tune": "tuning",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'l2tune' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"l2tune.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
