"""How far estimates without labels are from what the labels then show, under covariate shift, beside the constant.

python -m tests.stats.covariate_shift [windows]

The constant is the metric of the reference: what everybody takes for granted while labels are missing.
"""

import sys
from dataclasses import dataclass

import numpy as np

from app.stats.calibration import calibrate
from app.stats.estimated import expect, expected_accuracy
from app.stats.estimated_loss import expected_loss, fit_loss, shares_of

REFERENCE, WINDOW, FEATURES, BINS = 20_000, 5_000, 4, 16
SHIFTS = (0.0, 0.25, 0.5, 1.0, 1.5)  # standard deviations
SLOPES = np.array([1.5, -1.0, 0.5, 0.0])


@dataclass(frozen=True)
class Setting:
    """A model that is calibrated, or whose log-odds are too large by a factor."""

    name: str
    overconfidence: float


SETTINGS = (Setting("calibrated", 1.0), Setting("overconfident", 2.0), Setting("timid", 0.6))


@dataclass(frozen=True)
class Result:
    """Mean absolute errors over windows, and the share of intervals that held what came true."""

    estimated: float
    constant: float
    covered: float


def classified(generator, setting, rows, shift):
    """Probabilities of the model and what came true; the shift moves rows away from the decision or towards it."""
    features = generator.normal(size=(rows, FEATURES))
    features[:, 0] += shift
    odds = features @ SLOPES
    is_positive = generator.random(rows) < 1 / (1 + np.exp(-odds))
    return 1 / (1 + np.exp(-odds * setting.overconfidence)), is_positive


def classification(setting: Setting, shift: float, windows: int, seed: int = 1) -> Result:
    """Accuracy by confidence, each window with a reference of its own."""
    generator, rows = np.random.default_rng([seed, round(100 * shift)]), []
    for _ in range(windows):
        scores, truth = classified(generator, setting, REFERENCE, 0.0)
        calibration, constant = calibrate(scores, truth), np.mean((scores > 0.5) == truth)
        scores, truth = classified(generator, setting, WINDOW, shift)
        told = expected_accuracy(expect([calibration], scores, scores > 0.5), 0.05)
        real = np.mean((scores > 0.5) == truth)
        rows.append((abs(told.value - real), abs(constant - real), told.low <= real <= told.high))
    return Result(*np.mean(rows, axis=0))


def regressed(generator, rows, shift):
    """Bins of features, and the absolute errors of a model that is worse where the first feature is large."""
    features = generator.normal(size=(rows, FEATURES))
    features[:, 0] += shift
    spread = 0.5 + np.exp(0.5 * features[:, 0]) + 0.3 * np.abs(features[:, 1])
    return features, np.abs(generator.normal(size=rows) * spread)


def regression(shift: float, windows: int, seed: int = 1) -> Result:
    """Mean absolute error by direct loss estimation; errors are relative to the reference's."""
    generator, rows = np.random.default_rng([seed, round(100 * shift)]), []
    for _ in range(windows):
        features, loss = regressed(generator, REFERENCE, 0.0)
        edges = np.quantile(features, np.arange(1, BINS) / BINS, axis=0)
        sizes = [BINS] * FEATURES
        model, constant = fit_loss(coded(features, edges), loss, sizes), loss.mean()
        features, loss = regressed(generator, WINDOW, shift)
        told = expected_loss(model, shares_of(coded(features, edges), sizes), WINDOW, 0.05)
        real = loss.mean()
        held = told.low <= real <= told.high
        rows.append((abs(told.value - real) / constant, abs(constant - real) / constant, held))
    return Result(*np.mean(rows, axis=0))


def coded(features, edges):
    return np.stack(
        [np.searchsorted(cuts, column) for cuts, column in zip(edges.T, features.T, strict=True)], axis=1
    )


def main() -> None:
    windows = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"{windows} windows of {WINDOW:,} rows, references of {REFERENCE:,}; mean absolute error")
    print(f"{'':34}{'estimated':>10}{'constant':>10}{'covered':>9}")
    for setting in SETTINGS:
        for shift in SHIFTS:
            show(f"accuracy, {setting.name}, {shift} sd", classification(setting, shift, windows))
    for shift in SHIFTS:
        show(f"relative MAE, {shift} sd", regression(shift, windows))


def show(name: str, result: Result) -> None:
    print(f"{name:34}{result.estimated:10.4f}{result.constant:10.4f}{result.covered:9.3f}")


if __name__ == "__main__":
    main()
