"""Alarms in hourly windows of seasonal data, by a reference of the hour of the week; a pooled one for contrast.

python -m tests.bench.seasons [weeks]
"""

import sys

import numpy as np

from app.stats.drift import compare
from app.stats.profile import observe
from app.stats.reference import Reference
from app.stats.seasons import HOURS
from tests.bench.figures import Figure
from tests.stats import seasonal

NORMAL, ROWS, LEARNT_WEEKS = 0, 500, 8
LEVELS = (0.05, 0.01, 0.001, 0.0001)


def main() -> None:
    weeks = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    generator = np.random.default_rng(1)
    seasons = seasonal.learn(generator, LEARNT_WEEKS, ROWS)
    silent = seasonal.p_values(generator, seasons, weeks, ROWS)
    moved = seasonal.p_values(generator, seasons, max(1, weeks // 10), ROWS, shift=0.3)[:, NORMAL]
    pooled = Reference(seasons.pooled)
    windows = [observe(seasons.layout, seasonal.rows(generator, hour, ROWS)) for hour in range(HOURS)]
    blind = np.array([compare(pooled, window).p[NORMAL] for window in windows])
    print(f"{silent.shape[0]:,} hourly windows of {ROWS} rows x {silent.shape[1]} columns, no drift")
    figures = [
        Figure(f"alarms at {level}", (silent < level).mean(), level, "share", at_most=True)
        for level in LEVELS
    ]
    figures += [Figure(f"0.3 sd found at {level}", (moved < level).mean(), 0.95, "share") for level in LEVELS]
    print(*figures, sep="\n")
    print(f"a pooled reference alarms at 0.01 in {(blind < 0.01).mean():.0%} of the windows without drift")


if __name__ == "__main__":
    main()
