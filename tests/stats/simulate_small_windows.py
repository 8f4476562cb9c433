"""How often each question calls small windows of lumpy, undrifted columns drifted, beside its nominal rate.

python -m tests.stats.simulate_small_windows --windows 2000

A rate above one and a half times the nominal, of 1 in 100 to 1 in 100,000, is printed with the smallest p-value: of a few
events in the last, that may be chance.
"""

import argparse

import numpy as np

from app.stats.axes import numeric_axis
from app.stats.drift import Question, compare
from app.stats.profile import Layout, observe
from app.stats.reference import Reference
from tests.monitoring.real_streams import credit_default

SIZES = (5, 10, 20, 50, 100, 200)
LEVELS = (1e-2, 1e-3, 1e-4, 1e-5)
REFERENCE = 10_000


def lumpy(generator: np.random.Generator) -> np.ndarray:
    """Rows of a bank's clients, shuffled, and of some made-up columns."""
    clients = credit_default()
    table = clients.frame[clients.inputs].to_numpy(float)
    rows = len(table)
    made_up = [
        generator.normal(size=rows),
        generator.standard_cauchy(rows),
        generator.standard_t(2, rows),
        generator.lognormal(size=rows) * (generator.random(rows) < 0.3),
        generator.poisson(3, rows),
        generator.random(rows) < 0.002,
        np.where(generator.random(rows) < 0.01, generator.normal(size=rows) * 50, 0.0),
    ]
    return np.column_stack([table, *made_up]).astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=2000)
    given = parser.parse_args()
    generator = np.random.default_rng(1)
    table = lumpy(generator)
    sample = list(table[:REFERENCE].T)
    layout = Layout(tuple(map(numeric_axis, sample)))
    reference = Reference(observe(layout, sample))
    for size in SIZES:
        drawn = (table[generator.integers(0, len(table), size)] for _ in range(given.windows))
        p = np.array([compare(reference, observe(layout, list(rows.T))).p_values for rows in drawn])
        print(f"windows of {size} rows, {p[:, :, 0].size:,} of columns")
        for place, question in enumerate(Question):
            rates = [float((p[:, :, place] < level).mean() / level) for level in LEVELS]
            if max(rates) > 1.5:
                print(
                    "   ", question, " ".join(f"{rate:.1f}" for rate in rates), f"{p[:, :, place].min():.1e}"
                )


if __name__ == "__main__":
    main()
