"""Labels of any number: how often windows of an undrifted column are called drifted, and how soon a new label is found.

python -m tests.stats.simulate_categories --windows 2000
"""

import argparse

import numpy as np

from app.stats.axes import category_axis
from app.stats.drift import compare
from app.stats.labels import MOST_OF_REFERENCE
from app.stats.looks import allowance, looks_after
from app.stats.profile import Layout, merge, observe
from app.stats.reference import Reference
from tests.stats.simulate_lifetimes import BUDGET, COLUMNS, ROWS

CARDINALITIES = (3, 20, 50, 300, 10_000, 100_000)
LEVELS = (0.05, 0.01, 0.001)
REFERENCES = 20  # so that no single one's luck decides
NEW_SHARE = 0.005


class Labels:
    """An endless column: all labels alike, or each as frequent as its rank makes it."""

    def __init__(self, generator: np.random.Generator, cardinality: int, *, is_even: bool) -> None:
        weights = np.ones(cardinality) if is_even else 1 / np.arange(1.0, cardinality + 1)
        self.generator, self.ends = generator, (weights / weights.sum()).cumsum()

    def rows(self, count: int, new: float = 0.0) -> list[str]:
        drawn = np.searchsorted(self.ends, self.generator.random(count))
        drawn[self.generator.random(count) < new] = -1
        return list(map(str, drawn))


def references(labels: Labels, count: int, rows: int = 10_000):
    for _ in range(count):
        sample = labels.rows(rows)
        layout = Layout((category_axis(sample),))
        yield Reference(observe(layout, [sample], most_labels=MOST_OF_REFERENCE))


def null_rates(labels: Labels, windows: int) -> list[float]:
    p = [
        compare(reference, observe(reference.layout, [labels.rows(ROWS)])).p[0]
        for reference in references(labels, REFERENCES)
        for _ in range(windows // REFERENCES)
    ]
    return [float(np.mean(np.array(p) < level)) for level in LEVELS]


def windows_until_found(labels: Labels, reference: Reference, most: int = 16) -> float:
    """With the share of a lifetime's budget that one of fifty columns has."""
    profiles = []
    for bucket in range(most):
        profiles.append(observe(reference.layout, [labels.rows(ROWS, NEW_SHARE)]))
        for look in looks_after(bucket):
            p = compare(reference, merge(profiles[look.first :])).p[0]
            if p <= allowance(look, BUDGET) / len(COLUMNS):
                return bucket + 1
    return np.inf


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=2000)
    given = parser.parse_args()
    for cardinality in CARDINALITIES:
        for is_even in (True, False):
            labels = Labels(np.random.default_rng(cardinality), cardinality, is_even=is_even)
            rates = " ".join(
                f"{rate:.4f} at {level}"
                for rate, level in zip(null_rates(labels, given.windows), LEVELS, strict=True)
            )
            shape = "even" if is_even else "by rank"
            print(f"{cardinality:>7,} labels {shape:<7}: null {rates};", end=" ", flush=True)
            for rows in (10_000, 100_000):
                found = [windows_until_found(labels, each) for each in references(labels, REFERENCES, rows)]
                print(
                    f"a new one, {rows:,}: {np.median(found):g}, worst {max(found):g};", end=" ", flush=True
                )
            print()


if __name__ == "__main__":
    main()
