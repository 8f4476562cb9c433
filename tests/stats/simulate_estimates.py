"""The lives of a monitor that estimates how a version does while its labels are missing.

python -m tests.stats.simulate_estimates null [setting ...] --streams 400 --seed 1
python -m tests.stats.simulate_estimates detect --streams 40

`null` prints how many streams were ever told to have fallen that do exactly as badly as is still allowed: their inputs moved
to where the model is less sure, or its errors are larger, and nothing else. All looks of a life learn from the same labelled
rows. `detect` prints how many rows a window needs so that every other one proves a larger loss, of a life
with 5,000 labels that has seen a hundred quiet looks.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from itertools import count, islice
from uuid import UUID
from zlib import crc32

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from app.evidence.latest import Latest
from app.evidence.outcome_windows import Slot
from app.evidence.realised import realise, scale_of
from app.monitoring.kinds import BaselineKind, PerformanceFinding
from app.monitoring.performance.baselines import FIRST_LABELS, Baseline
from app.monitoring.performance.close_looks import as_labelled
from app.monitoring.performance.depending import MOST_LABELS, effect_of, suspected
from app.monitoring.performance.estimating import estimate
from app.monitoring.performance.unlabelled import MOST_ROWS, alpha_of
from app.monitoring.queries import FALSE_ALARMS
from app.runtimes.schema import Column, ColumnType, Signature, Task
from tests.stats.simulate_lifetimes import upper_limit

LOOKS, THRESHOLD = 16, 0.15
"""The first 16 looks spend five sixths of what there is for a life of any length."""
SPENT, SIZES = 100, (100, 300, 500, 1000, 2000, MOST_ROWS)
AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Classifier:
    """Chances of its classes are known; what it says has log-odds too large by a factor."""

    classes: int = 2
    overconfidence: float = 1.0
    sure: float = 4.0

    @property
    def signature(self) -> Signature:
        column = Column("x", ColumnType.FLOAT)
        return Signature((column,), Task.CLASSIFICATION, ColumnType.INTEGER, tuple(range(self.classes)))

    @property
    def stated(self) -> dict[str, float]:
        return {"accuracy": accuracy(self.classes, self.sure)}

    def draw(self, generator: np.random.Generator, luck: np.ndarray, loss: float) -> Latest:
        """Rows that are answered right where their luck is below the chance of the likeliest class."""
        odds = sureness(self.classes, self.sure, loss) * generator.normal(size=(len(luck), self.classes))
        chances, answers = softmax(odds, axis=1), odds.argmax(axis=1)
        others = chances.copy()
        others[np.arange(len(luck)), answers] = 0.0
        others = others.cumsum(axis=1) / others.sum(axis=1, keepdims=True)
        other = (others < generator.random((len(luck), 1))).sum(axis=1)
        actual = np.where(luck < chances.max(axis=1), answers, other)
        return rows_of(None, answers, softmax(self.overconfidence * odds, axis=1).tolist(), actual)


@cache
def normals(classes: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(400_000, classes))


@cache
def accuracy(classes: int, sure: float) -> float:
    return float(softmax(sure * normals(classes), axis=1).max(axis=1).mean())


@cache
def sureness(classes: int, sure: float, loss: float) -> float:
    """How far apart the log-odds lie of rows on which a classifier does so much worse."""
    wanted = accuracy(classes, sure) * (1 - loss)
    return brentq(lambda less: accuracy(classes, less) - wanted, 0.01, sure) if loss else sure


@dataclass(frozen=True)
class Regressor:
    """Errors are larger where the first input is, or in a group of one row in fifty."""

    rare: bool = False

    @property
    def signature(self) -> Signature:
        columns = (Column(name, ColumnType.FLOAT) for name in "abc")
        return Signature(tuple(columns), Task.REGRESSION)

    @property
    def stated(self) -> dict[str, float]:
        return {"mae": 1.18 if self.rare else float(np.exp(0.1))}

    def draw(self, generator: np.random.Generator, luck: np.ndarray, loss: float) -> Latest:
        inputs = generator.normal(size=(len(luck), 3))
        share = ((1 + loss) * 1.18 - 1) / 9
        inputs[:, 0] = (
            generator.random(len(luck)) < share if self.rare else inputs[:, 0] + np.log1p(loss) / 0.4
        )
        size = 1 + 9 * inputs[:, 0] if self.rare else np.exp(0.4 * inputs[:, 0] + 0.2 * inputs[:, 1])
        answers = inputs @ [0.5, 1.0, -1.0]
        errors = -np.log1p(-luck) * size * generator.choice([-1.0, 1.0], len(luck))
        return rows_of(inputs.tolist(), answers, [None] * len(luck), answers + errors)


def rows_of(features, answers, probabilities, actual) -> Latest:
    none = [None] * len(answers)
    return Latest(features, answers.tolist(), probabilities, none, actual.tolist(), none, none, none)


@dataclass(frozen=True)
class Setting:
    """A kind of stream: `had` labels in each of the first five minutes, then windows of `size` rows, a share of them labelled."""

    model: Classifier | Regressor
    size: int = 2000
    had: int = 120
    buckets: int = 8
    labelled: float = 0.0
    phi: float = 0.0
    first_labels: bool = False


SETTINGS = {
    "calibrated": Setting(Classifier()),
    "overconfident": Setting(Classifier(overconfidence=2.0)),
    "overconfident, some labels go on": Setting(Classifier(overconfidence=2.0), labelled=0.3),
    "timid, hardly to be told": Setting(Classifier(overconfidence=0.7)),
    "timid, few labels": Setting(Classifier(overconfidence=0.6), had=60),
    "five classes, timid": Setting(Classifier(5, 0.6)),
    "bursts": Setting(Classifier(), phi=0.8, had=300, size=4000),
    "bursts, first labels": Setting(
        Classifier(), phi=0.95, had=300, buckets=16, size=4000, first_labels=True
    ),
    "regression": Setting(Regressor()),
    "regression, some labels go on": Setting(Regressor(), labelled=0.1),
    "regression, a rare group": Setting(Regressor(rare=True), had=60),
    "regression, bursts": Setting(Regressor(), phi=0.8, had=300, size=4000),
}


@dataclass
class Life:
    """One stream: labelled rows at first, then looks at rows whose labels are missing."""

    setting: Setting
    generator: np.random.Generator
    last: float = 0.5
    before: Latest = field(init=False)
    baseline: Baseline = field(init=False)
    effect: float = field(init=False)

    def __post_init__(self) -> None:
        parts = [self.rows(self.setting.had, 0.0) for _ in range(self.setting.buckets)]
        self.before = joined(parts)
        self.baseline = self._baseline()
        signature, scale = self.setting.model.signature, scale_of(self.before.actual)
        slots = [Slot(AT, UUID(int=0), 1, realise(signature, as_labelled(part), scale)) for part in parts]
        self.effect = effect_of(signature, slots, latest(self.before, MOST_LABELS)) or suspected()

    def _baseline(self) -> Baseline:
        model = self.setting.model
        if not self.setting.first_labels:
            return Baseline(BaselineKind.STATED, 0, AT, None, None, model.stated)
        first = self.before.pick(range(FIRST_LABELS))
        sums = realise(model.signature, as_labelled(first), scale_of(first.actual))
        return Baseline(BaselineKind.FIRST_LABELS, FIRST_LABELS, AT, None, sums, {})

    def rows(self, size: int, loss: float) -> Latest:
        """The next rows; bursts reach from one window into the next."""
        is_new = self.generator.random(size) >= self.setting.phi
        luck = np.append(self.last, self.generator.random(size))
        luck = luck[np.maximum.accumulate(np.append(0, np.where(is_new, np.arange(1, size + 1), 0)))][1:]
        self.last = luck[-1]
        return self.setting.model.draw(self.generator, luck, loss)

    def findings(self, loss: float, looks: int = 0) -> Iterator[PerformanceFinding | None]:
        """What each look finds, so many having been spent; five minutes apart."""
        for number in count(looks):
            window = self.rows(self.setting.size, loss)
            come = self.generator.random(len(window)) < self.setting.labelled
            actual = [truth if told else None for truth, told in zip(window.actual, come, strict=True)]
            window = Latest(window.features, window.predicted, window.probabilities, *[actual] * 5)
            yield self._look(window, alpha_of(number, FALSE_ALARMS))
            self.before = (
                latest(joined([self.before, window.labelled]), MOST_ROWS) if come.any() else self.before
            )

    def _look(self, window: Latest, alpha: float) -> PerformanceFinding | None:
        signature = self.setting.model.signature
        was = self.baseline.tell(signature, alpha, design_effect=self.effect)
        told = {"threshold": THRESHOLD, "alpha": alpha, "design_effect": self.effect}
        found = estimate(signature, self.before, window, was, **told)
        return found.judgement and found.judgement.finding


def joined(parts: list[Latest]) -> Latest:
    def of(name):
        columns = [getattr(part, name) for part in parts]
        return None if None in columns else [each for column in columns for each in column]

    return Latest(*map(of, Latest.__dataclass_fields__))


def latest(rows: Latest, most: int) -> Latest:
    return rows.pick(range(max(0, len(rows) - most), len(rows)))


def lives(seed: int, name: str, streams: int, **changes: int) -> Iterator[Life]:
    setting, of_name = replace(SETTINGS[name], **changes), crc32(name.encode())
    return (Life(setting, np.random.default_rng([seed, of_name, i])) for i in range(streams))


def false_alarms(seed: int, name: str, streams: int, looks: int = LOOKS) -> list[int]:
    """At which look each stream at the very limit was told to have fallen, of those that were."""
    found = []
    for life in lives(seed, name, streams):
        told = enumerate(islice(life.findings(THRESHOLD), looks), 1)
        found += islice((at for at, finding in told if finding == PerformanceFinding.FALLEN), 1)
    return sorted(found)


def power(seed: int, name: str, streams: int, loss: float, size: int) -> float:
    """In what share of streams the first look at a loss proves it, with as many labels as a monitor reads and a hundred looks spent."""
    found = [
        next(life.findings(loss, SPENT))
        for life in lives(seed, name, streams, size=size, had=MOST_ROWS // SETTINGS[name].buckets)
    ]
    return float(np.mean([finding == PerformanceFinding.FALLEN for finding in found]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["null", "detect"])
    parser.add_argument("settings", nargs="*", default=[*SETTINGS], metavar="setting")
    parser.add_argument("--streams", type=int, default=400)
    parser.add_argument("--looks", type=int, default=LOOKS)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for name in given.settings:
        if given.what == "null":
            print_null(given.seed, name, given.streams, given.looks)
        else:
            print_detection(given.seed, name, given.streams)


def print_null(seed: int, name: str, streams: int, looks: int) -> None:
    alarms = false_alarms(seed, name, streams, looks)
    limit = upper_limit(len(alarms), streams)
    print(
        f"{name}, seed={seed}: {len(alarms)} of {streams} streams alarmed, upper 95 % limit {limit:.3f}",
        *(["at looks", *alarms] if alarms else []),
        flush=True,
    )


def print_detection(seed: int, name: str, streams: int) -> None:
    for loss in (1.5 * THRESHOLD, 2 * THRESHOLD):
        shares = ((size, power(seed, name, streams, loss, size)) for size in SIZES)
        enough = next((size for size, share in shares if share >= 0.5), None)
        told = (
            f"every other window of {enough:,} rows" if enough else f"hardly any window up to {MOST_ROWS:,}"
        )
        print(f"{name}: a loss of {loss:.1%} is proven by {told}", flush=True)


if __name__ == "__main__":
    main()
