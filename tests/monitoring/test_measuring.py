"""M6: metrics of rows that depend on each other, whose intervals are wider and whose rows are still all that there are."""

from collections import Counter

import numpy as np
import pytest

from app.evidence.realised import Realised
from app.monitoring.performance.measuring import measure
from app.runtimes.schema import Signature
from app.stats.error_sums import sum_errors
from tests import make

ROWS = 1003
CLASSES = Signature.from_json(make.SIGNATURE)
NUMBERS = Signature.from_json(make.SIGNATURE | {"task": "regression", "classes": None, "output": "float"})
DETECTOR = Signature.from_json(make.SIGNATURE | {"task": "anomaly", "classes": None, "output": "integer"})


def of(signature):
    generator = np.random.default_rng(5)
    if signature is NUMBERS:
        actual = generator.normal(size=ROWS)
        errors = sum_errors(actual, actual + generator.normal(size=ROWS) / 5)
        return Realised(rows=2 * ROWS, labelled=ROWS, errors=errors)
    labels = ("0", "1") if signature is CLASSES else ("-1", "1")
    rare, common = labels if signature is DETECTOR else labels[::-1]
    pairs = Counter({(rare, rare): 200, (common, rare): 53, (rare, common): 50, (common, common): 700})
    answers = Counter({rare: 500, common: 2 * ROWS - 500})
    return Realised(rows=2 * ROWS, labelled=ROWS, pairs=pairs, answers=answers)


@pytest.mark.parametrize(
    ("signature", "metric"), [(CLASSES, "accuracy"), (NUMBERS, "mae"), (DETECTOR, "recall"), (DETECTOR, "accuracy")]
)  # fmt: skip
def test_dependence_widens_an_interval_and_changes_neither_its_value_nor_its_rows(signature, metric):
    alike = measure(signature, of(signature), 0.05).metrics[metric]
    wider = measure(signature, of(signature), 0.05, design_effect=7.3).metrics[metric]
    assert wider.value == pytest.approx(alike.value, rel=1e-3)
    assert round(wider.rows) == alike.rows
    assert (wider.high - wider.low) / (alike.high - alike.low) == pytest.approx(7.3**0.5, rel=0.05)


def test_how_often_a_detector_alerts_is_told_of_all_answers():
    told = measure(DETECTOR, of(DETECTOR), 0.05, design_effect=7.3).metrics["alert_rate"]
    assert (told.value, told.rows) == (500 / (2 * ROWS), 2 * ROWS)
