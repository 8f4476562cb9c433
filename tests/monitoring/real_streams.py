"""Real streams, replayed through what a monitor decides by: profiles, windows, looks, verdicts; and when it alarmed.

python -m tests.monitoring.real_streams [elec2 bike_uci credit_default metro_traffic] [--svg docs]

A model is trained on the first part of each stream; other rows of that part are its reference and the baseline of its
performance. The rest comes bucket by bucket, at the times in the data. The data lie beside the project, in ../shared/data.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from app.core.ids import new_id
from app.evidence.rules import ReferenceKind
from app.evidence.windows import Reference, Window
from app.monitoring.drift.actions import Terms, judge_window
from app.monitoring.drift.known import LEARNT_AT, MOST_BUCKETS, Known, Week, learn_dependence
from app.monitoring.kinds import Finding, Season
from app.runtimes.profiles import Answered, Plan, make_plan
from app.runtimes.row_order import row_order, weekly
from app.runtimes.schema import Column, ColumnType, Signature, Task
from app.stats.intervals import Estimate, mean_of, proportion
from app.stats.looks import Look, allowance, looks_after
from app.stats.performance import Standing, judge
from app.stats.profile import Profile, merge
from app.stats.seasons import HOURS, by_hour, hours_of_week

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
BUDGET, THRESHOLD, LOSS = 0.05, 0.1, 0.15
LONGEST = 64


@dataclass
class Stream:
    """A stream with the model that answers it.

    Attributes:
        frame: rows in order; `at` is when each was, or counts rows where the data tell no time.
        inputs: the model's columns.
        target: what it predicts.
        train, reference, live: which rows are what.
        bucket: to which bucket each live row belongs.
    """

    name: str
    frame: pd.DataFrame
    inputs: list[str]
    target: str
    train: np.ndarray
    reference: np.ndarray
    live: np.ndarray
    bucket: np.ndarray
    has_times: bool = True
    task: Task = Task.REGRESSION


@dataclass
class Told:
    """What a replay showed: of each look that alarmed its end, what did it, and the performance bucket by bucket."""

    name: str
    starts: list[pd.Timestamp] = field(default_factory=list)
    metric: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    drift: list[tuple[int, int, list[str]]] = field(default_factory=list)
    fallen: list[tuple[int, int]] = field(default_factory=list)
    baseline: float = 0.0


def read(name: str, file: str, **options) -> pd.DataFrame:
    return pd.read_csv(DATA / name / file, **options)


def elec2() -> Stream:
    """Half-hourly prices in New South Wales: trained on 120 days, held against the 60 after them."""
    frame = read("elec2", "elec2.csv.gz")
    frame["at"] = pd.Timestamp("1996-05-07", tz="UTC") + pd.to_timedelta(
        30 * np.arange(len(frame)), unit="min"
    )
    frame["class"] = frame["class"].astype(str)
    day = np.arange(len(frame)) // 48
    inputs = ["period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"]
    parts = day < 120, (day >= 120) & (day < 180), day >= 180
    return Stream("elec2", frame, inputs, "class", *parts, day, task=Task.CLASSIFICATION)


def bike_uci() -> Stream:
    """Hourly rentals: trained on the even weeks of 2011, held against the odd ones, replayed through 2012."""
    frame = read("bike_uci", "hour.csv", sep=";")
    frame["at"] = pd.to_datetime(frame.dteday, format="%d/%m/%Y", utc=True) + pd.to_timedelta(
        frame.hr, unit="h"
    )
    day = (frame["at"] - frame["at"].iloc[0]).dt.days.to_numpy()
    is_first, is_even = (frame.yr == 0).to_numpy(), day // 7 % 2 == 0
    inputs = ["hr", "weekday", "workingday", "weathersit", "temp", "hum", "windspeed"]
    return Stream("bike_uci", frame, inputs, "cnt", is_first & is_even, is_first & ~is_even, ~is_first, day)


def credit_default(seed: int | None = 1) -> Stream:
    """Clients of a bank, who have no time: shuffled, or by their number where `seed` is None."""
    frame = read("credit_default", "UCI_Credit_Card.csv")
    if seed is not None:
        frame = frame.sample(frac=1.0, random_state=seed, ignore_index=True)
    target = "default.payment.next.month"
    frame[target] = frame[target].astype(str)
    place = np.arange(len(frame))
    frame["at"] = pd.Timestamp("2005-09-01", tz="UTC") + pd.to_timedelta(place, unit="min")
    inputs = [column for column in frame.columns if column not in {"ID", target, "at"}]
    parts = place < 7500, (place >= 7500) & (place < 15_000), place >= 15_000
    name = "credit_default" if seed is not None else "credit_default by number"
    return Stream(
        name, frame, inputs, target, *parts, place // 250, has_times=False, task=Task.CLASSIFICATION
    )


def metro_traffic() -> Stream:
    """Hourly volumes of a motorway, predicted from the calendar and the volume before; hours are missing in 2015."""
    frame = read("metro_traffic", "Metro_Interstate_Traffic_Volume.csv.gz", keep_default_na=False)
    frame["at"] = pd.to_datetime(frame.date_time, utc=True)
    frame = frame.drop_duplicates("at").sort_values("at", ignore_index=True)
    frame["hour"], frame["weekday"] = frame["at"].dt.hour, frame["at"].dt.day_of_week
    frame["volume_before"] = frame.traffic_volume.shift(1)
    day = (frame["at"] - frame["at"].iloc[0]).dt.days.to_numpy()
    is_first, is_even = (frame["at"] < "2013-10-01").to_numpy(), day // 7 % 2 == 0
    parts = is_first & is_even, is_first & ~is_even, ~is_first
    return Stream("metro_traffic", frame, ["hour", "weekday", "volume_before"], "traffic_volume", *parts, day)


STREAMS: dict[str, Callable[[], Stream]] = {
    "elec2": elec2,
    "bike_uci": bike_uci,
    "credit_default": credit_default,
    "credit_default by number": lambda: credit_default(None),
    "metro_traffic": metro_traffic,
}


class Replay:
    """A stream with its model's answers, and what its monitor knows."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.is_class = stream.task == Task.CLASSIFICATION
        kind = HistGradientBoostingClassifier if self.is_class else HistGradientBoostingRegressor
        frame = stream.frame
        table = frame[stream.inputs].to_numpy(float)
        model = kind(max_iter=100, random_state=0).fit(
            table[stream.train], frame[stream.target][stream.train]
        )
        self.table, self.truth = table, frame[stream.target].to_numpy()
        self.answers = model.predict(table)
        self.losses = self.answers == self.truth if self.is_class else np.abs(self.answers - self.truth)
        self.sure = model.predict_proba(table).max(axis=1) if self.is_class else None
        self.seconds = frame["at"].dt.tz_localize(None).to_numpy("datetime64[s]").astype(np.int64)
        self.known = self._begin()

    def _begin(self) -> Known:
        rows, seconds = self.rows(self.stream.reference), self.seconds[self.stream.reference]
        columns = tuple(Column(name, ColumnType.FLOAT, nullable=True) for name in self.stream.inputs)
        plan = make_plan(Signature(columns, self.stream.task), rows)
        profile = plan.profile(rows)
        order = row_order(plan, profile, rows, seconds)
        made_at = datetime(2026, 1, 1, tzinfo=UTC)
        reference = Reference(new_id(), ReferenceKind.SAMPLE, len(seconds), made_at, plan, profile, order)
        week = [(hour, of_hour) for hour, _, of_hour in weekly(plan, [rows], seconds)]
        if not week or not self.stream.has_times:
            return Known(reference, Season.NOT_KNOWN_YET)
        return Known(reference, Season.OF_REFERENCE, Week(by_hour(week)))

    @property
    def plan(self) -> Plan:
        return self.known.reference.plan

    def rows(self, chosen: np.ndarray) -> Answered:
        sure = None if self.sure is None else self.sure[chosen]
        return Answered(list(self.table[chosen].T), self.answers[chosen].tolist(), sure)

    def window(self, chosen: np.ndarray, profile: Profile, buckets: int) -> Window:
        hours = np.bincount(hours_of_week(self.seconds[chosen]), minlength=HOURS).astype(float)
        ends = [datetime.fromtimestamp(int(at), UTC) for at in self.seconds[chosen][[0, -1]]]
        return Window(*ends, len(self.seconds[chosen]), buckets, profile, hours)

    def metric(self, chosen: np.ndarray, alpha: float) -> Estimate:
        """Accuracy, or mean absolute error."""
        if self.is_class:
            return proportion(int(self.losses[chosen].sum()), int(chosen.sum()), alpha)
        return mean_of(self.losses[chosen], alpha)

    def run(self) -> Told:
        told = Told(self.stream.name, baseline=self.metric(self.stream.reference, 0.05).value)
        numbers = [n for n in np.unique(self.stream.bucket[self.stream.live]) if self._of(n, n).any()]
        profiles: list[Profile] = []
        origin = 0
        for number in range(len(numbers)):
            chosen = self._of(numbers[number], numbers[number])
            profiles.append(self.plan.profile(self.rows(chosen)))
            told.starts.append(self.stream.frame["at"][chosen].iloc[0])
            told.metric.append(float(self.losses[chosen].mean()))
            for look in looks_after(number):
                if look.buckets > LONGEST:
                    break
                self._look(told, look, profiles, self._of(numbers[look.first], numbers[number]), origin)
            if told.drift and told.drift[-1][0] == number:
                origin = number + 1
            self._learn(profiles)
        return told

    def _of(self, first: int, last: int) -> np.ndarray:
        return self.stream.live & (self.stream.bucket >= first) & (self.stream.bucket <= last)

    def _look(
        self, told: Told, look: Look, profiles: Sequence[Profile], chosen: np.ndarray, origin: int
    ) -> None:
        last, alpha = look.first + look.buckets - 1, allowance(look, BUDGET)
        if chosen.sum() >= 50:
            now, before = self.metric(chosen, alpha / 2), self.metric(self.stream.reference, alpha / 2)
            if judge(now, before, LOSS, more_is_better=self.is_class).standing == Standing.FALLEN:
                told.fallen.append((last, look.buckets))
        if look.first < origin or (told.drift and told.drift[-1][0] == last):
            return
        window = self.window(chosen, merge(profiles[look.first : last + 1]), look.buckets)
        verdict = judge_window(self.known, window, Terms(THRESHOLD, alpha, is_cautious=True)).verdict
        if look.buckets == 1:
            told.score.append(verdict.score)
        if verdict.finding == Finding.DRIFT:
            told.drift.append((last, look.buckets, [each.column.name for each in verdict.drifted]))

    def _learn(self, profiles: Sequence[Profile]) -> None:
        if len(profiles) in LEARNT_AT:
            found = learn_dependence(self.known.reference, profiles[-MOST_BUCKETS:])
            known = self.known
            self.known = Known(known.reference, known.season, known.week, found, len(profiles))


def describe(told: Told) -> Iterator[str]:
    yield f"{told.name}: {len(told.starts)} buckets from {told.starts[0]:%Y-%m-%d}, baseline {told.baseline:.3f}"
    for what, found in (("drift", told.drift), ("performance", told.fallen)):
        if not found:
            yield f"  {what}: silent"
            continue
        last, buckets = found[0][:2]
        yield (
            f"  {what}: {len(found)} looks alarmed, first at {told.starts[last]:%Y-%m-%d} (bucket {last + 1}, "
            f"window of {buckets})"
        )
    months = Counter(f"{told.starts[last]:%Y-%m}" for last, *_ in told.fallen)
    yield "  fallen by month: " + " ".join(f"{month}:{count}" for month, count in months.items())
    months = Counter(f"{told.starts[last]:%Y-%m}" for last, *_ in told.drift)
    yield "  drift by month: " + " ".join(f"{month}:{count}" for month, count in months.items())
    columns = Counter(name for _, _, names in told.drift for name in names)
    yield "  columns: " + ", ".join(f"{name} {count}" for name, count in columns.most_common(8))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("streams", nargs="*", default=list(STREAMS), help=", ".join(STREAMS))
    for name in parser.parse_args().streams:
        told = Replay(STREAMS[name]()).run()
        print(*describe(told), sep="\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
