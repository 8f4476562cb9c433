"""The lives of a performance monitor over streams whose errors come in bursts.

`python -m tests.stats.simulate_losses` prints how many of a few hundred streams that do exactly as badly as is still
allowed were ever told to have fallen, and how soon a real fall is found; with `--independent` as it was while each labelled
row counted.
"""

import sys

import numpy as np

from app.monitoring.performance.depending import MOST_BUCKETS, MOST_LABELS, is_learnt_again
from app.stats.dependence import SUSPECTED
from app.stats.intervals import MINIMUM, known, proportion
from app.stats.looks import allowance, looks_after
from app.stats.loss_dependence import LossSums, loss_effect, of_loss_buckets, of_loss_rows
from app.stats.performance import Standing, judge

ACCURACY, THRESHOLD, BUDGET = 0.9, 0.15, 0.05
ALLOWED = 1 - ACCURACY * (1 - THRESHOLD)
"""The share of wrong answers at which a version is about to have fallen."""


def bursts(generator, rows, wrong, phi):
    """Whether each row was answered wrong; rows k apart correlate by phi to the power of k."""
    starts = np.where(generator.random(rows) >= phi, np.arange(rows), 0)
    return (generator.random(rows) < wrong).astype(float)[np.maximum.accumulate(starts)]


def fallen_at(losses, size, *, independent=False):
    """After how many buckets a monitor says that the version has fallen; None if it never does."""
    sums = [LossSums(size, float(wrong), float(wrong)) for wrong in losses.reshape(-1, size).sum(axis=1)]
    so_far = np.concatenate([[0.0], losses.cumsum()])
    learnt_from, effect = 0, 1.0
    for bucket in range(len(sums)):
        if is_learnt_again(bucket + 1, learnt_from) and not independent:
            learnt_from, effect = bucket + 1, learn(losses[: (bucket + 1) * size], sums[: bucket + 1])
        for look in looks_after(bucket):
            wrong = so_far[(bucket + 1) * size] - so_far[look.first * size]
            if has_fallen(wrong / effect, look.buckets * size / effect, allowance(look, BUDGET)):
                return bucket + 1
    return None


def learn(losses, sums):
    """What a monitor would know of them by now."""
    rows, buckets = of_loss_rows([losses[-MOST_LABELS:]]), of_loss_buckets([sums[-MOST_BUCKETS:]])
    return loss_effect(rows, buckets) or SUSPECTED


def has_fallen(wrong, rows, alpha):
    if rows < MINIMUM:
        return False
    now = proportion(rows - wrong, rows, alpha)
    return judge(now, known(ACCURACY), THRESHOLD, more_is_better=True).standing == Standing.FALLEN


def false_alarms(seed, *, streams, looks, size=60, phi=0.5, independent=False):
    """How many streams at the very limit were told to have fallen."""
    generator = np.random.default_rng(seed)
    lives = (bursts(generator, looks * size, ALLOWED, phi) for _ in range(streams))
    return sum(fallen_at(losses, size, independent=independent) is not None for losses in lives)


def delays(seed, *, streams, wrong, size=60, phi=0.0, before=8, looks=96, independent=False):
    """How many buckets after a fall each stream was told to have fallen; all that there are where it wasn't."""
    generator, found = np.random.default_rng(seed), []
    for _ in range(streams):
        parts = (
            bursts(generator, before * size, 1 - ACCURACY, phi),
            bursts(generator, looks * size, wrong, phi),
        )
        at = fallen_at(np.concatenate(parts), size, independent=independent)
        found.append(looks if at is None else at - before)
    return found


if __name__ == "__main__":
    independent = "--independent" in sys.argv
    for phi in (0.0, 0.5, 0.8):
        alarmed = false_alarms(6, streams=300, looks=300, phi=phi, independent=independent)
        print(f"phi {phi}: {alarmed} of 300 streams at the limit were told to have fallen")
    for wrong in (0.35, 0.5):
        median = np.median(delays(7, streams=40, wrong=wrong, independent=independent))
        print(f"independent rows, {wrong:.0%} wrong instead of 10 %: found after {median:g} buckets of 60")
