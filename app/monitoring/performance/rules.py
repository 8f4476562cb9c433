"""What realised performance means beside its baseline, and which metric speaks for a model. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from app.monitoring.kinds import PerformanceFinding
from app.runtimes.schema import Task

if TYPE_CHECKING:
    from app.stats.intervals import Estimate
    from app.stats.performance import Verdict

Told = Mapping[str, "Estimate | ValueError"]
"""Metrics by name; in place of one that can't be told, why it can't."""


NOTHING_YET = (
    "No label of the window can be compared, and there is no baseline yet: of a version that was registered without "
    "`evaluation` rows and `metrics` the first labels become it."
)
SPOKESMEN: Mapping[Task, tuple[str, ...]] = {
    Task.CLASSIFICATION: ("accuracy", "f1_macro", "f1_weighted", "roc_auc", "log_loss"),
    Task.ANOMALY: ("f1", "recall", "precision", "accuracy"),
    Task.REGRESSION: ("mae", "rmse", "mse", "r2"),
}
"""Which metric is judged: the first of these that the baseline has."""
OF_ODDS = frozenset({"roc_auc", "log_loss"})
"""They are told of probabilities alone."""
LESS_IS_BETTER = frozenset({"mae", "mse", "rmse", "log_loss"})
NAMES_ELSEWHERE = {
    "acc": "accuracy", "accuracy_score": "accuracy", "auc": "roc_auc", "roc_auc_score": "roc_auc", "logloss": "log_loss",
    "macro_f1": "f1_macro", "weighted_f1": "f1_weighted", "mean_absolute_error": "mae", "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse", "r2_score": "r2",
}  # fmt: skip
"""What scikit-learn and its users call the same."""


@dataclass(frozen=True)
class Judgement:
    """What was found, of which metric, and about how many labels more would tell."""

    finding: PerformanceFinding
    metric: str | None = None
    now: "Estimate | None" = None
    was: "Estimate | None" = None
    loss: "Estimate | None" = None
    labels_needed: int | None = None


def name_here(metric: str) -> str:
    """Our name of a metric that somebody stated.

    >>> name_here("Accuracy"), name_here("mean_absolute_error")
    ('accuracy', 'mae')
    """
    plain = metric.strip().lower().replace(" ", "_").replace("-", "_")
    return NAMES_ELSEWHERE.get(plain, plain)


def choose_metric(task: Task, known: Collection[str]) -> str | None:
    """The metric that speaks for a model whose baseline tells these.

    >>> choose_metric(Task.REGRESSION, {"r2", "rmse"})
    'rmse'
    """
    return next((metric for metric in SPOKESMEN.get(task, ()) if metric in known), None)


def metrics_of(task: Task, *, has_odds: bool) -> tuple[str, ...]:
    """The metrics that can be judged of a model: some need probabilities.

    >>> metrics_of(Task.CLASSIFICATION, has_odds=False)
    ('accuracy', 'f1_macro', 'f1_weighted')
    """
    return tuple(metric for metric in SPOKESMEN.get(task, ()) if has_odds or metric not in OF_ODDS)


def told_of(was: Told) -> list[str]:
    """The metrics that a baseline really tells."""
    return [name for name, told in was.items() if not isinstance(told, ValueError)]


def judge_metric(metric: str | None, now: Told, was: Told, threshold: float) -> Judgement:
    """Whether a metric has fallen past the threshold beside its baseline.

    Args:
        metric: the one that is judged; None where there is no baseline for any.
        now: what the window tells.
        was: what the baseline tells.
        threshold: the relative loss that is too much.
    """
    from app.stats.performance import judge  # noqa: PLC0415 - and SciPy with it

    known = was.get(metric or "")
    if metric is None or known is None or isinstance(known, ValueError):
        return Judgement(PerformanceFinding.NO_BASELINE, metric)
    found = now.get(metric, ValueError(f"{metric} is not told of such a model"))
    if isinstance(found, ValueError):
        needed = getattr(found, "labels_missing", None) or _fewest(found)
        return Judgement(PerformanceFinding.INSUFFICIENT_DATA, metric, was=known, labels_needed=needed)
    try:
        verdict = judge(found, known, threshold, more_is_better=metric not in LESS_IS_BETTER)
    except ValueError:  # a baseline of nothing: no loss is relative to it
        return Judgement(PerformanceFinding.NO_BASELINE, metric, found, known)
    return _judged(metric, found, known, verdict)


def _judged(metric: str, now: "Estimate", was: "Estimate", verdict: "Verdict") -> Judgement:
    finding = PerformanceFinding(verdict.standing.value)
    return Judgement(finding, metric, now, was, verdict.loss, verdict.labels_missing)


def _fewest(lack: ValueError) -> int | None:
    """How many more are needed at the least, where there is no rate to tell from."""
    need, have = getattr(lack, "need", None), getattr(lack, "have", 0)
    return None if need is None else ceil(need - have)


def advise_on(judgement: Judgement, told: Sequence[str] = ()) -> list[str]:
    """The judgement in sentences, for people; `told` are the metrics that the baseline tells."""
    metric, now, was, loss = judgement.metric, judgement.now, judgement.was, judgement.loss
    if judgement.was is None and judgement.finding == PerformanceFinding.INSUFFICIENT_DATA:
        return [NOTHING_YET]
    if judgement.finding == PerformanceFinding.NO_BASELINE:
        return [_say_what_is_missing(metric, was, told)]
    if now is None or was is None or loss is None:
        return [f"Too few labels to tell{_how_many(judgement.labels_needed)}."]
    sentence = f"{metric} is {now.value:.4g}, where the baseline has {was.value:.4g}"
    if judgement.finding == PerformanceFinding.FALLEN:
        return [
            f"{sentence}: a loss of {loss.value:.1%}, proven to be at least {loss.low:.1%}. Retrain the model."
        ]
    if judgement.finding == PerformanceFinding.HOLDING:
        return [f"{sentence}: a loss of at most {loss.high:.1%}."]
    return [f"{sentence}; more than that can't be told yet{_how_many(judgement.labels_needed)}."]


def _say_what_is_missing(metric: str | None, was: "Estimate | None", told: Sequence[str]) -> str:
    if was is not None:
        return f"The baseline's {metric} is {was.value:.4g}, and may be 0 or less: no loss is relative to that. Judge another `metric`."
    if metric is not None and told:
        return f"The baseline does not tell {metric}, but {', '.join(told)}: judge one of these as `metric`."
    return (
        "There is no baseline to hold this against: register a version with `evaluation` rows or `metrics`."
    )


def _how_many(needed: int | None) -> str:
    return f", about {needed:,} more are needed" if needed else ""
