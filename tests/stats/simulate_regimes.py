"""How long a watch runs between false alarms, and how soon it finds a change.

python -m tests.stats.simulate_regimes runs --values 100000 --mean-run 1000
python -m tests.stats.simulate_regimes delays --times 100
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter

from app.stats.regimes import Watch, follow

Draw = Callable[[np.random.Generator, int], np.ndarray]


def autoregressive(persistence: float) -> Draw:
    def draw(generator: np.random.Generator, count: int) -> np.ndarray:
        noise = generator.normal(scale=np.sqrt(1 - persistence**2), size=count + 200)
        return lfilter([1.0], [1.0, -persistence], noise)[200:]

    return draw


SERIES: dict[str, Draw] = {
    "normal": lambda generator, count: generator.normal(size=count),
    "heavy tails (t3)": lambda generator, count: generator.standard_t(3, count),
    "lognormal": lambda generator, count: generator.lognormal(size=count),
    "counts of mean 3": lambda generator, count: generator.poisson(3, count).astype(float),
    "mostly zero": lambda generator, count: generator.lognormal(size=count) * (generator.random(count) < 0.1),
    "AR(1) .5": autoregressive(0.5),
    "AR(1) .9": autoregressive(0.9),
}
CHANGES = {
    "level + 0.5 sd": lambda values: values + 0.5,
    "level + 1 sd": lambda values: values + 1,
    "level - 2 sd": lambda values: values - 2,
    "volatility x 2": lambda values: values * 2,
    "volatility / 2": lambda values: values / 2,
}


def mean_run(draw: Draw, generator: np.random.Generator, values: int, promised: float) -> float:
    """Values per false alarm of an unchanging series; infinity if there was none."""
    watch = Watch(mean_run=promised)
    for value in draw(generator, values):
        watch = follow(watch, value)
    return values / watch.changes if watch.changes else np.inf


def delay(
    change: Callable, generator: np.random.Generator, before: int, *, draw: Draw = SERIES["normal"]
) -> tuple[int, int]:
    """Values from a change to its alarm, and by how many its place was missed; alarms before it don't count."""
    watch = Watch()
    for value in draw(generator, before):
        watch = follow(watch, value)
    known = watch.changes
    for after, value in enumerate(change(draw(generator, 2000))):
        watch = follow(watch, value)
        if watch.changes > known:
            return after + 1, watch.since - before
    return 2000, 2000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["runs", "delays"])
    parser.add_argument("--values", type=int, default=100_000)
    parser.add_argument("--mean-run", type=float, default=1000.0)
    parser.add_argument("--times", type=int, default=100)
    given = parser.parse_args()
    generator = np.random.default_rng(1)
    if given.what == "runs":
        for name, draw in SERIES.items():
            found = mean_run(draw, generator, given.values, given.mean_run)
            print(
                f"{name:20} {found:>9,.0f} values between false alarms, {given.mean_run:,.0f} promised",
                flush=True,
            )
        return
    for name, change in CHANGES.items():
        for before in (100, 1000):
            found = np.array([delay(change, generator, before) for _ in range(given.times)])
            print(f"{name:16} after {before:>5,}: median {np.median(found[:, 0]):g} values,", end=" ")
            print(
                f"9 of 10 in {np.quantile(found[:, 0], 0.9):g}; place missed by {np.median(np.abs(found[:, 1])):g}",
                flush=True,
            )


if __name__ == "__main__":
    main()
