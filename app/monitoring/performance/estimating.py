"""How a version does while labels are missing: learnt from earlier labelled rows, corrected by those that have come."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.evidence.latest import Latest
from app.monitoring.performance.close_looks import code_rows, group_inputs, known_losses
from app.monitoring.performance.measuring import ask, shown
from app.monitoring.performance.rules import Judgement, Told, judge_metric
from app.runtimes.schema import Signature, Task

if TYPE_CHECKING:
    from app.stats.calibration import Calibration
    from app.stats.estimated import Expected

LEAST_LEARNT = 100
"""Labelled rows before the window; fewer calibrate nothing."""


@dataclass(frozen=True)
class Estimated:
    """What is expected of a window, or why nothing is."""

    metrics: Told
    rows: int
    learnt_from: int
    corrected_by: int
    reason: str | None = None
    judgement: Judgement | None = None

    def to_json(self) -> dict[str, Any]:
        """As an answer tells it, with its warning."""
        from app.stats.estimated import ASSUMPTION  # noqa: PLC0415 - and SciPy with it

        return {
            "warning": ASSUMPTION, "metrics": shown(self.metrics), "rows": self.rows, "learnt_from": self.learnt_from,
            "corrected_by": self.corrected_by, "insufficient_data": self.reason,
            "finding": self.judgement and self.judgement.finding, "metric": self.judgement and self.judgement.metric,
            "loss": self.judgement and self.judgement.loss,
        }  # fmt: skip


def estimate(
    signature: Signature,
    before: Latest,
    window: Latest,
    was: Told,
    *,
    threshold: float,
    alpha: float,
    design_effect: float = 1.0,
) -> Estimated:
    """What the labels of a window will show, in a thread.

    Args:
        signature: of the version.
        before: labelled rows from before the window, to learn from.
        window: its rows, labelled or not.
        was: the baseline's metrics.
        threshold: the relative loss that is too much.
        alpha: how often each interval may miss.
        design_effect: how many rows count for one, as far as losses show it.
    """
    labelled = window.labelled
    counts = (len(window), len(before), len(labelled))
    try:
        metrics = _widen(_estimate(signature, before, window, labelled, alpha), design_effect)
    except ValueError as reason:
        return Estimated({}, *counts, reason=str(reason))
    metric = next((name for name in metrics if name in was), None)
    judgement = judge_metric(metric, metrics, was, threshold) if metric else None
    return Estimated(metrics, *counts, judgement=judgement)


def _widen(told: Told, design_effect: float) -> Told:
    """The same with intervals as wide as those of as many fewer rows; shares stay within 0 and 1."""
    by, most = sqrt(design_effect), {"mae": inf}
    return {
        name: each if isinstance(each, ValueError) else replace(
            each, low=max(0.0, each.value - by * (each.value - each.low)),
            high=min(most.get(name, 1.0), each.value + by * (each.high - each.value)),
        )
        for name, each in told.items()
    }  # fmt: skip


def _estimate(signature: Signature, before: Latest, window: Latest, labelled: Latest, alpha: float) -> Told:
    from app.stats.intervals import require  # noqa: PLC0415 - and SciPy with it

    require("labelled rows before the window", len(before), len(before), LEAST_LEARNT)
    if signature.task == Task.REGRESSION:
        return _estimate_error(signature, before, window, labelled, alpha)
    if signature.task == Task.CLASSIFICATION and signature.classes and len(signature.classes) > 1:
        return _estimate_scores(signature, before, window, labelled, alpha)
    raise ValueError("only regressions and classifiers are estimated")


def _estimate_scores(
    signature: Signature, before: Latest, window: Latest, labelled: Latest, alpha: float
) -> Told:
    from app.stats.calibration import calibrate, correct  # noqa: PLC0415 - and SciPy with it
    from app.stats.confusion import Score  # noqa: PLC0415
    from app.stats.estimated import expect, expected_accuracy, expected_auc, expected_score  # noqa: PLC0415

    scored = _Scored(signature)
    learnt, come, rows = scored.read(before), scored.read(labelled), scored.read(window)
    calibrations: list[Calibration] = []
    for i, place in enumerate(scored.shown):
        fitted = calibrate(learnt.odds[:, i], learnt.actual == place)
        calibrations.append(correct(fitted, come.odds[:, i], come.actual == place))
    expected: Expected = expect(calibrations, rows.odds, rows.predicted)
    classes = len(scored.places)
    macro = partial(expected_score, expected, Score.F1, np.full(classes, 1 / classes), alpha)
    told = {"accuracy": ask(partial(expected_accuracy, expected, alpha)), "f1_macro": ask(macro)}
    return told | ({"roc_auc": ask(partial(expected_auc, expected, alpha))} if classes == 2 else {})


@dataclass(frozen=True)
class _Table:
    """Rows whose probabilities are known: shape (rows, shown classes), and places of labels, -1 for one that is unknown."""

    odds: NDArray[np.float64]
    predicted: NDArray[np.intp]
    actual: NDArray[np.intp]


class _Scored:
    """Reads rows by the classes of a signature; of two classes the second says it all."""

    def __init__(self, signature: Signature) -> None:
        classes = signature.classes or ()
        self.places = {(type(label), label): place for place, label in enumerate(classes)}
        self.shown = [1] if len(classes) == 2 else list(range(len(classes)))

    def read(self, rows: Latest) -> _Table:
        """Those of the rows that have a probability of every class and an answer among them."""
        odds, predicted = self._odds_of(rows.probabilities), self._places_of(rows.predicted)
        is_good = ((odds >= 0) & (odds <= 1)).all(axis=1) & (predicted >= 0)
        if len(rows) and not is_good.any():
            raise ValueError("the model gives no probabilities")
        actual = self._places_of(rows.actual)
        return _Table(odds[is_good][:, self.shown], predicted[is_good], actual[is_good])

    def _odds_of(self, probabilities: Sequence[Any]) -> NDArray[np.float64]:
        width = len(self.places)
        nothing = [np.nan] * width
        fitting = [
            odds if isinstance(odds, list) and len(odds) == width else nothing for odds in probabilities
        ]
        return np.array(fitting, np.float64).reshape(-1, width)  # None becomes NaN

    def _places_of(self, labels: Sequence[Any]) -> NDArray[np.intp]:
        """By type as well: 1, 1.0 and true are labels of their own."""
        return np.array([
            self.places.get((type(label), label), -1) if isinstance(label, str | int | float) else -1
            for label in labels
        ], np.intp)  # fmt: skip


def _estimate_error(
    signature: Signature, before: Latest, window: Latest, labelled: Latest, alpha: float
) -> Told:
    from app.stats.estimated_loss import correct_loss, expected_loss, fit_loss, shares_of  # noqa: PLC0415 - and SciPy

    learnt, losses = known_losses(signature, before)
    groups = group_inputs(signature, learnt)
    sizes = [each.size for each in groups]
    model = fit_loss(np.column_stack(code_rows(signature, groups, learnt)), losses, sizes)
    come, errors = known_losses(signature, labelled)
    if len(come):
        model = correct_loss(model, np.column_stack(code_rows(signature, groups, come)), errors)
    shares = shares_of(np.column_stack(code_rows(signature, groups, window)), sizes)
    return {"mae": ask(partial(expected_loss, model, shares, len(window), alpha))}
