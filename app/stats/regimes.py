"""When did a series change its level or its volatility? Found online, with a stated mean run between false alarms.

Each value is ranked among those of its regime. While nothing changes the ranks are independent and uniform, whatever the
distribution (Vovk, Nouretdinov and Gammerman, ICML 2003), so that bets on their normal scores can't win in the long run.
The bets are summed up to a Shiryaev–Roberts e-detector: crossing a threshold of A takes A values on average, or more
(Shin, Ramdas and Rinaldo, New England J. Stat. Data Sci. 2, 2024, section 2). Ranks also take care of outliers.

Real series have a memory. So what is ranked is what the value before didn't foretell, by a first-order autoregression
fitted to ranks in the same regime. That makes the mean run approximate: see `Watch`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from math import log
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.stats.spread import EMPTY, Sample

Floats = NDArray[np.float64]
MEAN_RUN = 10_000.0
WARM_UP = 32  # values of a regime before the first bet: an autoregression can't be fitted to fewer
GREATEST = 1e100  # the squares of greater values, and their sums, are no numbers any more
GOLDEN = 0.6180339887498949  # its multiples fill (0, 1) evenly: they break ties without a random generator
MOST_PERSISTENT = 0.98
SHIFTS = np.array([-1.5, -0.5, 0.5, 1.5])  # of the level, in standard deviations
STRETCHES = np.array([0.5, 2.0])  # of the standard deviation
BETS = len(SHIFTS) + len(STRETCHES)
FAR_LEVEL = 0.5  # standard deviations of the long run that make a level high or low
FAR_VOLATILITY = 1.5  # the ratio that makes it turbulent, its inverse calm
_MAD = 1.4826022185056018  # of a normal distribution, to its standard deviation
_WINSOR = 3.0  # standard deviations from the median


class Level(StrEnum):
    """Where a regime's median lies, seen from the long run."""

    LOW = "low"
    USUAL = "usual"
    HIGH = "high"


class Volatility(StrEnum):
    """How far its values move from one to the next, beside the long run."""

    CALM = "calm"
    USUAL = "usual"
    TURBULENT = "turbulent"


@dataclass(frozen=True)
class Watch:
    """All that is remembered of a series; it turns into JSON and back.

    With independent values of any distribution the mean run between false alarms is at least `mean_run`. With
    autoregressive ones it is of that order, for which tests state bounds; values with a season should come without it.

    Attributes:
        mean_run: values between false alarms, on average, from 100.
        place: how many values came, those that are not finite among them.
        last: the latest finite value; None before the first.
        since: the place of the current regime's first value.
        changes: how many changes were found.
        regime, life: samples of the current regime and of everything.
        latest: the latest values as they came: a new regime begins with them.
        persistence: of the autoregression, in [0, 1).
        evidence: log of each bet's Shiryaev–Roberts sum.
        walks, turns: each bet's log-likelihood ratio since its best place to start, and that place.
    """

    mean_run: float = MEAN_RUN
    place: int = 0
    last: float | None = None
    since: int = 0
    changes: int = 0
    regime: Sample = EMPTY
    life: Sample = EMPTY
    latest: Sample = EMPTY
    persistence: float = 0.0
    evidence: tuple[float, ...] = (-np.inf,) * BETS
    walks: tuple[float, ...] = (0.0,) * BETS
    turns: tuple[int, ...] = (0,) * BETS

    def as_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        return {**asdict(self), "evidence": [max(each, -1e9) for each in self.evidence]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The watch that was stored; one from before there were `latest` values begins to keep them."""
        names = [name for name in ("regime", "life", "latest") if name in stored]
        return cls(**{**_plain(stored), **{name: Sample(**_plain(stored[name])) for name in names}})


def _plain(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(each) if isinstance(each, list) else each for name, each in stored.items()}


def follow(watch: Watch, value: float) -> Watch:
    """The watch after one value more; a change was found if it has more `changes`. What is not finite, or beyond `GREATEST`, is skipped.

    Raises:
        ValueError: a mean run below 100.

    >>> watch = Watch()
    >>> for value in [*np.random.default_rng(1).normal(size=200), *np.random.default_rng(2).normal(3.0, size=30)]:
    ...     watch = follow(watch, value)
    >>> watch.changes, watch.since
    (1, 200)
    """
    if not watch.mean_run >= 100:
        raise ValueError("a mean run between false alarms of fewer than 100 values finds nothing but those")
    if not abs(value) <= GREATEST:
        return replace(watch, place=watch.place + 1)
    before = value if watch.last is None else watch.last
    if len(watch.regime.values) >= WARM_UP:
        watch = _bet(watch, _score(watch, value, before))
    watch = _remember(watch, value, before)
    is_over = np.logaddexp.reduce(watch.evidence) - log(BETS) >= log(watch.mean_run)
    return _turn(watch) if is_over else watch


def _score(watch: Watch, value: float, before: float) -> float:
    """The normal score of what is new in a value among what was new in those of its regime."""
    news = np.array(watch.regime.values) - watch.persistence * np.array(watch.regime.before)
    new = value - watch.persistence * before
    at = GOLDEN * watch.place % 1
    rank = (news < new).sum() + at * ((news == new).sum() + 1)
    return float(special.ndtri(np.clip(rank / (len(news) + 1), 1e-6, 1 - 1e-6)))


def _bet(watch: Watch, score: float) -> Watch:
    """Likelihood ratios of shifted and stretched normal distributions to the standard one: e-values."""
    shifts = SHIFTS * score - SHIFTS**2 / 2
    stretches = score**2 / 2 * (1 - STRETCHES**-2.0) - np.log(STRETCHES)
    won = np.concatenate([shifts, stretches])
    walks, turns = np.array(watch.walks), np.array(watch.turns)
    turns[walks <= 0] = watch.place
    return replace(
        watch,
        evidence=tuple((np.logaddexp(0.0, watch.evidence) + won).tolist()),
        walks=tuple((walks.clip(0.0) + won).tolist()),
        turns=tuple(turns.tolist()),
    )


def _remember(watch: Watch, value: float, before: float) -> Watch:
    regime = watch.regime.add(value, before, watch.place)
    is_due = regime.count >= WARM_UP and _is_round(regime.count)
    return replace(
        watch,
        place=watch.place + 1,
        last=value,
        regime=regime,
        life=watch.life.add(value, before, watch.place),
        latest=watch.latest.push(value, before, watch.place),
        persistence=_persistence(regime) if is_due else watch.persistence,
    )


def _is_round(count: int) -> bool:
    """A power of two, or three times one: fitted then, an autoregression takes little of its own time."""
    return count // (count & -count) in {1, 3}


def _persistence(sample: Sample) -> float:
    """The autocorrelation of normal scores, which outliers can't sway; negative ones count as none."""
    scores = np.stack([_normal_scores(each) for each in (sample.values[1:], sample.before[1:])])
    scores -= scores.mean(axis=1, keepdims=True)
    covariance = scores @ scores.T
    variance = float(np.sqrt(covariance[0, 0] * covariance[1, 1]))
    return float(np.clip(covariance[0, 1] / variance, 0.0, MOST_PERSISTENT)) if variance > 1e-12 else 0.0


def _normal_scores(values: tuple[float, ...]) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = counts.cumsum() - (counts - 1) / 2
    return np.asarray(special.ndtri(ranks / (len(values) + 1))[place])


def _turn(watch: Watch) -> Watch:
    """Begin a regime where the bet that has won most began to win."""
    since = watch.turns[int(np.argmax(watch.walks))]
    fresh = Watch(regime=watch.regime.since(since, watch.latest))
    return replace(
        watch,
        since=since,
        changes=watch.changes + 1,
        regime=fresh.regime,
        persistence=_persistence(fresh.regime) if len(fresh.regime.values) >= WARM_UP else 0.0,
        evidence=fresh.evidence,
        walks=fresh.walks,
        turns=(watch.place,) * BETS,
    )


def ended(watch: Watch, since: int) -> Watch:
    """The watch of a regime that is found to have ended where another began: without the values since."""
    return replace(watch, regime=watch.regime.until(since))


@dataclass(frozen=True)
class Regime:
    """What a series is like now.

    Attributes:
        level, volatility: in the terms of the long run.
        mean, deviation: of the regime's values, winsorised three standard deviations from their median.
        since: the place of its first value, counted from 0, values that are not finite included.
        values: how many finite values it has had.
    """

    level: Level
    volatility: Volatility
    mean: float
    deviation: float
    since: int
    values: int


def describe(watch: Watch) -> Regime:
    """The current regime.

    Raises:
        ValueError: no finite value came yet.

    >>> watch = Watch()
    >>> for value in np.repeat([0.0, 5.0], [200, 40]) + np.sin(np.arange(240.0) ** 2):
    ...     watch = follow(watch, value)
    >>> regime = describe(watch)
    >>> regime.level.value, regime.volatility.value, round(regime.mean, 1), regime.since
    ('high', 'usual', 5.0, 200)
    """
    if not watch.regime.values:
        raise ValueError("a series without a finite value is in no regime")
    now = np.array(watch.regime.values)
    bounded = _winsorised(now)
    return Regime(
        _level(now, np.array(watch.life.values)),
        _volatility(_moves(watch.regime), _moves(watch.life)),
        float(bounded.mean()),
        float(bounded.std()),
        watch.since,
        watch.regime.count,
    )


def _winsorised(values: Floats) -> Floats:
    middle, deviation = float(np.median(values)), _deviation(values)
    return (
        np.clip(values, middle - _WINSOR * deviation, middle + _WINSOR * deviation) if deviation else values
    )


def _deviation(values: Floats) -> float:
    """From the median absolute deviation; 0 where most values are the same."""
    return _MAD * float(np.median(np.abs(values - np.median(values))))


def _level(now: Floats, life: Floats) -> Level:
    off = float(np.median(now) - np.median(life))
    unit = _deviation(life) or float(life.std())
    if abs(off) <= FAR_LEVEL * unit:
        return Level.USUAL
    return Level.HIGH if off > 0 else Level.LOW


def _moves(sample: Sample) -> float:
    """The root mean square of winsorised steps from value to value: a change of level is one step only."""
    steps = np.array(sample.values) - np.array(sample.before)
    return float(np.sqrt(np.mean(_winsorised(steps) ** 2)))


def _volatility(now: float, life: float) -> Volatility:
    if now > FAR_VOLATILITY * life:
        return Volatility.TURBULENT
    return Volatility.CALM if now * FAR_VOLATILITY < life else Volatility.USUAL
