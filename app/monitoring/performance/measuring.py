"""Metrics from the sums of what came true. All of it takes SciPy, so whoever asks does so in a thread."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from app.evidence.realised import TRUE_CLASS, Realised, as_text, from_text, has_labels
from app.monitoring.performance.rules import Told
from app.runtimes.schema import Label, Signature, Task

if TYPE_CHECKING:
    from app.stats.confusion import Confusion
    from app.stats.intervals import Estimate

ANOMALOUS = "-1"
"""What detectors answer where something is wrong, as scikit-learn has it; a label like any other as JSON."""
MOST_SHOWN_CLASSES = 50


@dataclass(frozen=True)
class Measured:
    """What sums tell.

    Attributes:
        metrics: of the model as a whole.
        per_class: of each label, by its JSON.
        confusion: how often each label came true where each was answered; None where answers are no labels.
        bin_errors: by how much a metric from bins may be off besides.
    """

    metrics: Told
    per_class: Mapping[str, Told]
    confusion: "Confusion | None"
    bin_errors: Mapping[str, float]


def measure(
    signature: Signature, realised: Realised, alpha: float, *, design_effect: float = 1.0
) -> Measured:
    """Every metric that such a model has.

    Args:
        signature: of the version.
        realised: what came true.
        alpha: in which share of the times each interval may miss.
        design_effect: how many labelled rows count for one, because they depend on each other.
    """
    design_effect = _at_most(design_effect, realised)
    thin = _thin(realised, design_effect)
    if signature.task == Task.REGRESSION:
        return Measured(in_labels(_errors(thin, alpha), _times_fewer(thin, realised)), {}, None, {})
    if not has_labels(signature):
        return Measured({}, {}, None, {})
    confusion = confusion_of(signature, realised)
    if signature.task == Task.ANOMALY:
        told = in_labels(_detection(confusion.thinned(design_effect), alpha), design_effect)
        return Measured({**told, **_alerts(realised, alpha)}, {}, confusion, {})
    measured = _classification(thin, confusion.thinned(design_effect), alpha)
    per_class = {label: in_labels(told, design_effect) for label, told in measured.per_class.items()}
    return Measured(in_labels(measured.metrics, design_effect), per_class, confusion, measured.bin_errors)


def measure_briefly(
    signature: Signature, realised: Realised, alpha: float, *, design_effect: float = 1.0
) -> Told:
    """The few metrics that a history shows of each hour or day."""
    from app.stats.confusion import Average, Score, accuracy, average_score  # noqa: PLC0415 - and SciPy with it

    if not realised.labelled or signature.task != Task.CLASSIFICATION:
        whole = partial(measure, signature, realised, alpha, design_effect=design_effect)
        return whole().metrics if realised.labelled else {}
    design_effect = _at_most(design_effect, realised)
    confusion = confusion_of(signature, realised).thinned(design_effect)
    f1 = partial(average_score, confusion, Score.F1, Average.MACRO, alpha)
    told = {"accuracy": ask(partial(accuracy, confusion, alpha)), "f1_macro": ask(f1)}
    return in_labels(told, design_effect)


def _at_most(design_effect: float, realised: Realised) -> float:
    """What leaves enough rows to tell anything: a value is shown of few dependent labels as well, though no verdict rests on them."""
    from app.stats.intervals import MINIMUM  # noqa: PLC0415 - and SciPy with it

    return min(design_effect, max(1.0, realised.labelled / MINIMUM))


def _thin(realised: Realised, by: float) -> Realised:
    """As many fewer labelled rows, alike; pairs are thinned as a confusion."""
    errors = realised.errors and realised.errors.thinned(by)
    return replace(
        realised, errors=errors, scores={label: each.thinned(by) for label, each in realised.scores.items()}
    )


def _times_fewer(thin: Realised, realised: Realised) -> float:
    """By how much errors were really thinned, to whole rows."""
    few, many = thin.errors, realised.errors
    return many.rows / few.rows if few and many and few.rows else 1.0


def in_labels(told: Told, design_effect: float) -> dict[str, "Estimate | ValueError"]:
    """What was told of thinned rows, with the numbers of labels that there are, or must be, of all."""
    from app.stats.intervals import Estimate, TooLittleData  # noqa: PLC0415 - and SciPy with it

    def of(each: "Estimate | ValueError") -> "Estimate | ValueError":
        if isinstance(each, Estimate):
            return replace(each, rows=round(each.rows * design_effect))
        if isinstance(each, TooLittleData):
            have, need, rows = (number * design_effect for number in (each.have, each.need, each.rows))
            return TooLittleData(each.what, round(have), ceil(need), round(rows))
        return each

    return {name: of(each) for name, each in told.items()}


def confusion_of(signature: Signature, realised: Realised) -> "Confusion":
    """The pairs as a table: the signature's classes first, then whatever else occurred."""
    from app.stats.confusion import Confusion  # noqa: PLC0415 - and SciPy with it

    known = list(map(as_text, signature.classes or ()))
    others = {label for pair in realised.pairs for label in pair}.difference(known)
    labels = (*known, *sorted(others))
    places = {label: place for place, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), np.int64)
    for (actual, predicted), count in realised.pairs.items():
        counts[places[actual], places[predicted]] = count
    return Confusion(labels, counts)


def _classification(realised: Realised, confusion: "Confusion", alpha: float) -> Measured:
    from app.stats.confusion import Average, Score, classification_scores  # noqa: PLC0415 - and SciPy with it

    told = classification_scores(confusion, alpha)
    metrics = {"accuracy": told["accuracy"]}
    metrics |= {f"{score}_{average}": told[f"{average} {score}"] for score in Score for average in Average}
    per_class: dict[str, dict[str, Estimate | ValueError]] = {
        str(label): {str(score): told[f"{score} {label}"] for score in Score} for label in confusion.labels
    }
    areas, bin_errors = _areas(realised, alpha)
    for label, area in areas.items():
        per_class.setdefault(label, {})["roc_auc"] = area
    if realised.scores:
        metrics["roc_auc"] = _mean(areas.values())
        metrics["log_loss"], bin_errors["log_loss"] = _log_loss(realised, alpha)
    return Measured(metrics, per_class, confusion, bin_errors)


def _areas(realised: Realised, alpha: float) -> tuple[dict[str, "Estimate | ValueError"], dict[str, float]]:
    """Each class against the rest; their intervals hold together, so that their mean has one, too."""
    from app.stats.score_counts import roc_auc  # noqa: PLC0415 - and SciPy with it

    labels = [label for label in realised.scores if label != TRUE_CLASS]
    areas: dict[str, Estimate | ValueError] = {}
    errors = []
    for label in labels:
        try:
            binned = roc_auc(realised.scores[label], alpha / len(labels))
        except ValueError as reason:
            areas[label] = reason
        else:
            areas[label] = binned.estimate
            errors.append(binned.bin_error)
    return areas, {"roc_auc": max(errors)} if errors else {}


def _mean(told: Iterable["Estimate | ValueError"]) -> "Estimate | ValueError":
    from app.stats.intervals import Estimate  # noqa: PLC0415 - and SciPy with it

    estimates = []
    for each in told:
        if isinstance(each, ValueError):
            return each
        estimates.append(each)
    if not estimates:
        return ValueError("the model has too many classes for an area of each")
    value, low, high = (
        sum(getattr(each, name) for each in estimates) / len(estimates) for name in ("value", "low", "high")
    )
    return Estimate(value, low, high, min(each.rows for each in estimates))


def _log_loss(realised: Realised, alpha: float) -> tuple["Estimate | ValueError", float]:
    from app.stats.score_counts import log_loss  # noqa: PLC0415 - and SciPy with it

    try:
        binned = log_loss(realised.scores[TRUE_CLASS], alpha)
    except ValueError as reason:
        return reason, 0.0
    return binned.estimate, binned.bin_error


def _detection(confusion: "Confusion", alpha: float) -> Told:
    """Of a detector: how it does on what is anomalous."""
    from app.stats.confusion import Score, accuracy, score_of  # noqa: PLC0415 - and SciPy with it

    told = {str(each): ask(partial(score_of, confusion, each, ANOMALOUS, alpha)) for each in Score}
    return told | {"accuracy": ask(partial(accuracy, confusion, alpha))}


def _alerts(realised: Realised, alpha: float) -> Told:
    """Of a detector: how often it says that something is anomalous, labelled or not."""
    from app.stats.intervals import proportion, require  # noqa: PLC0415 - and SciPy with it

    def alert_rate() -> "Estimate":
        require("rows", realised.rows, realised.rows)
        return proportion(realised.answers[ANOMALOUS], realised.rows, alpha)

    return {"alert_rate": ask(alert_rate)}


def _errors(realised: Realised, alpha: float) -> dict[str, "Estimate | ValueError"]:
    from app.stats.error_sums import Error, error_of  # noqa: PLC0415 - and SciPy with it
    from app.stats.intervals import TooLittleData  # noqa: PLC0415

    sums = realised.errors
    if sums is None:
        return {str(error): TooLittleData("labelled rows", 0) for error in Error}
    return {str(error): ask(partial(error_of, sums, error, alpha)) for error in Error}


def ask(tell: Callable[[], "Estimate"]) -> "Estimate | ValueError":
    """A metric, or why it can't be told."""
    try:
        return tell()
    except ValueError as reason:
        return reason


def shown(told: Told, bin_errors: Mapping[str, float] | None = None) -> dict[str, dict[str, Any]]:
    """Metrics as an answer tells them: a value with its interval, or why there is none and how many labels are missing."""
    return {name: _shown(each, (bin_errors or {}).get(name)) for name, each in told.items()}


def _shown(told: "Estimate | ValueError", bin_error: float | None) -> dict[str, Any]:
    if isinstance(told, ValueError):
        return {"insufficient_data": str(told), "labels_needed": getattr(told, "labels_missing", None)}
    return {
        "value": told.value,
        "low": told.low,
        "high": told.high,
        "rows": round(told.rows),
        "bin_error": bin_error,
    }


def shown_label(text: str) -> str:
    """A label as people read it: a text as it is, anything else as its JSON.

    >>> shown_label('"yes"'), shown_label("1")
    ('yes', '1')
    """
    label: Label = from_text(text)
    return label if isinstance(label, str) else text
