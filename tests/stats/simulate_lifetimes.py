"""False alarms over the whole life of a monitor, and how soon it finds what did change.

python -m tests.stats.simulate_lifetimes null --streams 40 --seed 1
python -m tests.stats.simulate_lifetimes detect --streams 20
With --shuffled, the order of the reference's rows is not known to be that of time: then a window's own rows are read where
they decide, as `app.monitoring.drift.closer` does.

A stream is fifty mixed columns with a reference of their own; each look asks all of them, with one budget for all looks
and columns. Streams are simulated side by side, as columns of one wide profile: nothing depends on the number.
"""

import argparse
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.signal import lfilter
from scipy.special import betaincinv

from app.evidence.in_order import MOST_ROWS
from app.monitoring.drift.known import LEARNT_AT, MOST_BUCKETS
from app.stats.axes import category_axis, numeric_axis
from app.stats.dependence import Dependence, cautious_effects, design_effects, of_buckets
from app.stats.drift import Comparison, Question, compare
from app.stats.labels import MOST_OF_REFERENCE
from app.stats.looks import Look, allowance, looks_after
from app.stats.profile import Layout, Profile, merge, observe
from app.stats.reference import Reference
from app.stats.row_dependence import bounds_of_own, of_rows

ROWS, LOOKS, BUDGET = 500, 512, 0.05
KINDS = ("normal", "lognormal", "zero-inflated", "integer", "categorical", "ar1")
COLUMNS = [KINDS[i % len(KINDS)] for i in range(50)]
CARDINALITIES = (3, 20, 300, 10_000)
PHI = 0.5


class Stream:
    """Rows of fifty columns, without end; AR(1) columns go on where they stopped."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.last = generator.normal(size=len(COLUMNS))

    def rows(self, count: int) -> list:
        return [self._column(i, kind, count) for i, kind in enumerate(COLUMNS)]

    def _column(self, i: int, kind: str, count: int):
        draw = self.generator
        match kind:
            case "normal":
                return draw.normal(size=count)
            case "lognormal":
                return draw.lognormal(size=count)
            case "zero-inflated":
                return draw.lognormal(size=count) * (draw.random(count) < 0.3)
            case "integer":
                return draw.poisson(3, count).astype(float)
            case "categorical":
                return list(map(str, draw.integers(0, CARDINALITIES[i % len(CARDINALITIES)], count)))
        return self._autoregressive(i, count)

    def _autoregressive(self, i: int, count: int):
        noise = self.generator.normal(scale=np.sqrt(1 - PHI**2), size=count)
        values, _ = lfilter([1.0], [1.0, -PHI], noise, zi=[PHI * self.last[i]])
        self.last[i] = values[-1]
        return values


@dataclass
class Lives:
    """Several streams side by side with their common layout; a shuffled reference, whose order is unknown, hides dependence."""

    streams: list[Stream]
    reference: Reference
    rows: Dependence
    is_shuffled: bool = False
    buckets: Dependence | None = None
    latest: deque = field(default_factory=lambda: deque(maxlen=MOST_ROWS // ROWS))

    @classmethod
    def begin(cls, seed: int, count: int, rows: int, *, shuffled: bool = False) -> "Lives":
        streams = [Stream(np.random.default_rng([seed, i])) for i in range(count)]
        columns = [column for stream in streams for column in stream.rows(rows)]
        axes = [category_axis(c) if isinstance(c, list) else numeric_axis(c) for c in columns]
        layout = Layout(tuple(axes))
        reference = Reference(observe(layout, columns, most_labels=MOST_OF_REFERENCE))
        if shuffled:
            columns = [_shuffled(column, streams[0].generator) for column in columns]
        return cls(streams, reference, of_rows(reference, columns), shuffled)

    def observe(self, change=lambda column, _: column) -> Profile:
        columns = [change(column, i) for stream in self.streams for i, column in enumerate(stream.rows(ROWS))]
        self.latest.append(columns)
        return observe(self.reference.layout, columns)

    def learn(self, buckets: list[Profile]) -> None:
        self.buckets = of_buckets(self.reference, buckets[-MOST_BUCKETS:])

    def look(self, look: Look, window: Profile) -> Comparison:
        """Where the order is not known, cautiously; those whose own rows decide once more, with what they say."""
        known = design_effects(self.rows, self.buckets)
        if not self.is_shuffled:
            return compare(self.reference, window, design_effects=known)
        cautious = compare(self.reference, window, design_effects=cautious_effects(self.rows, self.buckets))
        is_proven = self._proven(look, cautious)
        hangs = self._proven(look, compare(self.reference, window, design_effects=known))
        hangs = hangs | is_proven if self.buckets is None else hangs & ~is_proven
        return self._look_closer(look, window, hangs, cautious) if hangs.any() else cautious

    def _look_closer(
        self, look: Look, window: Profile, chosen: np.ndarray, cautious: Comparison
    ) -> Comparison:
        is_chosen = np.repeat(chosen, len(COLUMNS))
        parts = [*self.latest][-look.buckets :]
        columns = [
            _joined(each) if wanted else None
            for each, wanted in zip(zip(*parts, strict=True), is_chosen, strict=True)
        ]
        effects = cautious_effects(
            self.rows, self.buckets, bounds_of_own(self.reference, columns), read=len(parts) / look.buckets
        )
        closer = compare(self.reference, window, design_effects=effects)
        p_values = np.where(is_chosen[:, np.newaxis], closer.p_values, cautious.p_values)
        return Comparison(p_values, np.where(is_chosen, closer.p, cautious.p))

    def _proven(self, look: Look, seen: Comparison) -> np.ndarray:
        """For which streams."""
        is_proof = seen.p <= allowance(look, BUDGET) / len(COLUMNS)
        return is_proof.reshape(len(self.streams), -1).any(axis=1)


def _joined(parts):
    return [x for part in parts for x in part] if isinstance(parts[0], list) else np.concatenate(parts)


def _shuffled(column, generator: np.random.Generator):
    order = generator.permutation(len(column))
    return [column[i] for i in order] if isinstance(column, list) else column[order]


def dyadic(
    lives: Lives, looks: int, change=lambda column, _: column
) -> Iterator[tuple[Look, np.ndarray, np.ndarray]]:
    """Each look with p-values of shape (streams, columns) and the places of the questions that they came from."""
    newest: dict[int, Profile] = {}
    seen: list[Profile] = []
    for bucket in range(looks):
        window = lives.observe(change)
        seen.append(window)
        if bucket + 1 in LEARNT_AT:
            lives.learn(seen)
        for look in looks_after(bucket):
            if look.buckets > 1:
                window = merge([newest.pop(look.buckets // 2), window])
            answer = lives.look(look, window)
            shape = (len(lives.streams), len(COLUMNS))
            yield look, answer.p.reshape(shape), answer.p_values.argmin(axis=1).reshape(shape)
        newest[look.buckets] = window


def false_alarms(
    seed: int, streams: int, looks: int = LOOKS, *, shuffled: bool = False
) -> tuple[np.ndarray, Counter]:
    """Which streams ever raised an alarm, and which kinds of column asked which question then."""
    lives = Lives.begin(seed, streams, 10_000, shuffled=shuffled)
    alarmed, culprits = np.zeros(streams, bool), Counter()
    for look, p, asked in dyadic(lives, looks):
        is_alarm = p <= allowance(look, BUDGET) / len(COLUMNS)
        alarmed |= is_alarm.any(axis=1)
        for stream, i in np.argwhere(is_alarm):
            culprits[COLUMNS[i], list(Question)[asked[stream, i]].value, look.scale] += 1
    return alarmed, culprits


def delays(
    seed: int, streams: int, sds: float, looks: int, *, changed: int = 5, rows: int = 10_000, shuffled=False
) -> np.ndarray:
    """After how many windows each stream alarms when its first `changed` normal columns move; infinity if never."""
    places = [i for i, kind in enumerate(COLUMNS) if kind == "normal"][:changed]
    lives = Lives.begin(seed, streams, rows, shuffled=shuffled)
    found = np.full(streams, np.inf)
    for look, p, _ in dyadic(lives, looks, lambda column, i: column + sds if i in places else column):
        is_alarm = (p <= allowance(look, BUDGET) / len(COLUMNS)).any(axis=1)
        found[is_alarm & np.isinf(found)] = look.first + look.buckets
    return found


def upper_limit(events: int, trials: int) -> float:
    """One-sided 95 %, Clopper and Pearson."""
    return float(betaincinv(events + 1, trials - events, 0.95)) if events < trials else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["null", "detect"])
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shuffled", action="store_true")
    given = parser.parse_args()
    if given.what == "null":
        print_null(given.seed, given.streams, shuffled=given.shuffled)
    else:
        print_detection(given.seed, given.streams, shuffled=given.shuffled)


def print_null(seed: int, streams: int, *, shuffled: bool) -> None:
    alarmed, culprits = false_alarms(seed, streams, shuffled=shuffled)
    limit = upper_limit(int(alarmed.sum()), streams)
    print(
        f"null seed={seed}: {alarmed.sum()} of {streams} streams alarmed, upper 95 % limit {limit:.3f}",
        flush=True,
    )
    for culprit, count in culprits.most_common():
        print("   ", *culprit, count)


def print_detection(seed: int, streams: int, *, shuffled: bool) -> None:
    for sds, changed, looks, rows in ((0.3, 5, 1, 10_000), (0.1, 5, 16, 10_000), (0.05, 5, 96, 100_000)):
        found = delays(seed, streams, sds, looks, changed=changed, rows=rows, shuffled=shuffled)
        print(
            f"{sds} sd in {changed} of 50 columns, reference {rows:,}: median {np.median(found):g} windows,",
            end=" ",
        )
        print(f"{np.mean(found <= 1):.0%} in the first, worst {found.max():g}", flush=True)


if __name__ == "__main__":
    main()
