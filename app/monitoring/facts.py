"""What monitors find."""

from dataclasses import dataclass

from app.core.facts import Fact


@dataclass(frozen=True)
class MonitoringFact(Fact):
    """Something that a monitor found out about a version."""

    model: str
    version: int
    environment: str

    @property
    def subject(self) -> str:
        """`model:<name>:<number>`."""
        return f"model:{self.model}:{self.version}"


@dataclass(frozen=True)
class DriftDetected(MonitoringFact):
    """What a version is asked or answers is proven to be distributed otherwise than in its reference."""

    verdict_id: str
    score: float
    recommendation: str
    columns: list[str]
    features: list[str]
    """To look at first: what surely did something to the loss, then the farthest, by their importance."""


@dataclass(frozen=True)
class DriftEnded(MonitoringFact):
    """The latest window is proven to be within the threshold again."""

    verdict_id: str
    score: float


@dataclass(frozen=True)
class PerformanceFact(MonitoringFact):
    """Something about how well a version does: by which metric, and what the baseline has."""

    verdict_id: str
    metric: str
    value: float
    baseline: float


@dataclass(frozen=True)
class PerformanceDropped(PerformanceFact):
    """By the labels that came, a version is proven to do worse than its threshold allows."""

    features: list[str]
    """To look at first: whose drift surely made the loss larger, the one that did most first."""


@dataclass(frozen=True)
class PerformanceRecovered(PerformanceFact):
    """It is proven to be within the threshold again."""


@dataclass(frozen=True)
class EstimatedPerformanceFact(PerformanceFact):
    """The same while labels are missing: what the rows let expect, to which concept drift is invisible."""

    estimated: bool = True


@dataclass(frozen=True)
class EstimatedPerformanceDropped(EstimatedPerformanceFact):
    """By what its rows let expect, a version is proven to do worse than its threshold allows."""


@dataclass(frozen=True)
class EstimatedPerformanceRecovered(EstimatedPerformanceFact):
    """It is expected to be within the threshold again."""


@dataclass(frozen=True)
class SeriesFact(Fact):
    """Something about a series of a model that is followed."""

    model: str
    monitor: str

    @property
    def subject(self) -> str:
        """`model:<name>`."""
        return f"model:{self.model}"


@dataclass(frozen=True)
class RegimeMonitorMade(SeriesFact):
    """A series is followed from now on."""

    kind: str
    source: str | None


@dataclass(frozen=True)
class RegimeMonitorRemoved(SeriesFact):
    """A series is followed no more."""


@dataclass(frozen=True)
class RegimeChanged(SeriesFact):
    """A series has changed its level or its volatility."""

    change_id: str
    since: str
    level: str
    volatility: str
    mean_before: float
    mean: float
    deviation_before: float
    deviation: float


@dataclass(frozen=True)
class MonitorSet(Fact):
    """How a model is watched was changed."""

    model: str
    enabled: bool

    @property
    def subject(self) -> str:
        """`model:<name>`."""
        return f"model:{self.model}"
