"""The keys that a study stores. Each has its writer and its reader in this folder.

| where | key | what |
|---|---|---|
| study | `l2tune:schema` | version of this table |
| study | `l2tune:settings`, `:versions`, `:trainer`, `:data` | flat settings, versions, `Trainer.describe()`, images |
| study | `l2tune:metric` | `Metric.asdict()` |
| study | `l2tune:parameter` | name and scale of the parameter that is the strength |
| study | `l2tune:comparison` | name and penalties of the comparison that the study is a part of |
| study | `l2tune:refitting:λ:SEED` | worker and heartbeat of who trains this final network now, for the comparison |
| study | `l2tune:range` | [low, high] of λ now searched, once it was widened |
| study | `l2tune:refit:λ:SEED` | `RefitRecord` of a final network; one key each: no process writes over another's |
| trial | the parameter | the strength, on its scale; the baseline has none, for a log range rejects 0 |
| trial | `l2tune:strength` | λ, 0.0 for the baseline |
| trial | `l2tune:fold:K` | `FoldRecord` of fold K |
| trial | `l2tune:complete` | true: all folds are wanted, whatever a pruner says |
| trial | `l2tune:audit` | true: finishes a λ that was pruned, to see whether that was right |
| trial | `l2tune:part` | the only fold that this trial is to train of its parameters: workers share the folds |
| trial | `l2tune:joins_parts` | true: takes over the folds that the parts of its parameters have trained |
| trial | `l2tune:given_up` | true: failed for its worker ended, not for its parameters; `copy`: it was not needed |
| trial | `l2tune:continues` | number of the trial that was given up in whose place this one is |
| trial | `l2tune:failure` | `Failure`: why it failed, in one line, and the traceback |
| trial | `l2tune:shared_from` | the study of the comparison that trained this trial's folds, at λ = 0 |
| trial | `l2tune:worker` | token of the worker that runs it; host and process, for people |
| trial | `l2tune:beat` | its heartbeat: a number that its worker changes every few seconds |
| trial | `l2tune:bias_variance` | decomposition over the folds' predictions of the test images |
| trial | `l2tune:weight_decay`, `:train`, `:gap`, `:regime` | for the dashboard, as judged when the trial ended |
| trial | intermediate value | fold pruning: step = fold, its metric; epoch pruning: step = epoch, mean over folds |

Schema 1 had neither `:metric` nor `:parameter`: its metric is a setting, `loss` or `error`, its parameter `lambda`.
"""

SCHEMA = 2
READABLE = (1, 2)
PREFIX = "l2tune:"
SCHEMA_KEY = PREFIX + "schema"
METRIC = PREFIX + "metric"
PARAMETER = PREFIX + "parameter"
RANGE = PREFIX + "range"
STRENGTH = PREFIX + "strength"
COMPLETE = PREFIX + "complete"
AUDIT = PREFIX + "audit"
PART = PREFIX + "part"
JOINS_PARTS = PREFIX + "joins_parts"
GIVEN_UP = PREFIX + "given_up"
CONTINUES = PREFIX + "continues"
FAILURE = PREFIX + "failure"
SHARED_FROM = PREFIX + "shared_from"
COMPARISON = PREFIX + "comparison"
REFITTING = PREFIX + "refitting:"
WORKER = PREFIX + "worker"
BEAT = PREFIX + "beat"
BIAS_VARIANCE = PREFIX + "bias_variance"
PARTS = ("settings", "versions", "trainer", "data")
REFIT = PREFIX + "refit:"
FOLD = PREFIX + "fold:"


def fold_key(fold: int) -> str:
    """The trial attribute that holds the record of a fold."""
    return f"{FOLD}{fold}"


def fold_of(key: str) -> int | None:
    """The fold whose record a trial attribute holds; None for other attributes."""
    return int(key.removeprefix(FOLD)) if key.startswith(FOLD) else None


def refitting_key(strength: float, seed: int) -> str:
    """The study attribute that tells who trains the final network of this λ and seed now."""
    return f"{REFITTING}{float(strength)!r}:{int(seed)}"


def refit_key(strength: float, seed: int) -> str:
    """The study attribute that holds the record of a final network; λ with all its digits."""
    return f"{REFIT}{float(strength)!r}:{int(seed)}"
