"""What tells two versions apart: metrics and which is better, parameters, columns. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from app.runtimes.schema import Column, Signature, breaks

LOWER_IS_BETTER = (
    "loss", "error", "mse", "rmse", "mae", "mape", "smape", "brier", "deviance", "perplexity", "latency", "drawdown",
    "false_positive_rate", "false_negative_rate", "fpr", "fnr", "ece", "gap", "bias", "cost",
)  # fmt: skip
HIGHER_IS_BETTER = (
    "accuracy", "precision", "recall", "f1", "fbeta", "auc", "auroc", "auprc", "r2", "sensitivity", "specificity",
    "tpr", "tnr", "kappa", "mcc", "ndcg", "map", "jaccard", "iou", "score", "sharpe", "sharpe_ratio", "win_rate",
    "silhouette", "likelihood", "profit", "revenue", "lift", "throughput", "r2_score",
)  # fmt: skip
"""Words of metrics' names, as scikit-learn and MLflow write them; `val_log_loss` has the word `loss`."""


class Better(StrEnum):
    """Which of two versions a metric speaks for."""

    A = "a"
    B = "b"
    NEITHER = "neither"


@dataclass(frozen=True)
class MetricDifference:
    """A metric of two versions; `better` is None where it is unknown or not comparable."""

    metric: str
    a: float | None
    b: float | None
    difference: float | None
    relative: float | None
    better: Better | None


@dataclass(frozen=True)
class Changes:
    """What differs between two mappings."""

    added: dict[str, Any] = field(default_factory=dict)
    removed: dict[str, Any] = field(default_factory=dict)
    changed: dict[str, dict[str, Any]] = field(default_factory=dict)


def is_higher_better(metric: str) -> bool | None:
    """Which direction of a metric is good, by the words in its name; None when they don't tell.

    >>> is_higher_better("val_log_loss"), is_higher_better("test-F1.macro"), is_higher_better("epochs")
    (False, True, None)
    """
    words = "_" + "".join(char if char.isalnum() else "_" for char in metric.lower()) + "_"
    for known, verdict in ((LOWER_IS_BETTER, False), (HIGHER_IS_BETTER, True)):
        if any(f"_{word}_" in words for word in known):
            return verdict
    return None


def compare_metrics(a: Mapping[str, float], b: Mapping[str, float]) -> list[MetricDifference]:
    """Every metric that either of two versions has, by name."""
    return [_compare_metric(name, a.get(name), b.get(name)) for name in sorted({*a, *b})]


def _compare_metric(name: str, a: float | None, b: float | None) -> MetricDifference:
    if a is None or b is None:
        return MetricDifference(name, a, b, None, None, None)
    difference = b - a
    return MetricDifference(
        name, a, b, difference, difference / abs(a) if a else None, _judge(name, difference)
    )


def _judge(name: str, difference: float) -> Better | None:
    if difference == 0:
        return Better.NEITHER
    higher_is_better = is_higher_better(name)
    if higher_is_better is None:
        return None
    return Better.B if (difference > 0) == higher_is_better else Better.A


def compare_mappings(a: Mapping[str, Any], b: Mapping[str, Any]) -> Changes:
    """What a lacks, what b lacks, and what both have but differently.

    >>> compare_mappings({"C": 1, "tol": 2}, {"C": 3, "penalty": "l1"})
    Changes(added={'penalty': 'l1'}, removed={'tol': 2}, changed={'C': {'a': 1, 'b': 3}})
    """
    return Changes(
        {key: b[key] for key in b if key not in a},
        {key: a[key] for key in a if key not in b},
        {key: {"a": a[key], "b": b[key]} for key in a if key in b and a[key] != b[key]},
    )


def compare_columns(a: Signature, b: Signature) -> Changes:
    """How the columns that two versions take differ in type and nulls; what was seen in them is left out."""
    return compare_mappings(*({column.name: _declared(column) for column in each.inputs} for each in (a, b)))


def _declared(column: Column) -> dict[str, Any]:
    return {"type": column.type.value, "nullable": column.nullable}


def compare_signatures(a: Signature, b: Signature) -> dict[str, Any]:
    """The columns' changes, and why callers of a could not go on with b."""
    return asdict(compare_columns(a, b)) | {"breaks": breaks(a, b)}
