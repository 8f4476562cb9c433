"""What follows from what: for each fact, by its class's name, the kinds of job that it starts.

A reaction is a job with the fact's id; it runs in its own transactions, is tried again until it succeeds, and
is idempotent. Facts that nothing follows from are not listed.
"""

from collections.abc import Mapping

from app.alerts import jobs as alerts
from app.alerts.rules import Signal
from app.deployments.facts import VersionWithdrawn
from app.evidence.jobs import PLAN_REGISTERED
from app.monitoring.facts import (
    DriftDetected,
    DriftEnded,
    EstimatedPerformanceDropped,
    EstimatedPerformanceRecovered,
    PerformanceDropped,
    PerformanceRecovered,
    RegimeChanged,
)
from app.monitoring.performance.baselines import BASELINE_REGISTERED
from app.registry.facts import VersionDeleted, VersionRegistered

PROMPTS: Mapping[str, Signal] = {
    DriftDetected.__name__: Signal.DRIFT,
    DriftEnded.__name__: Signal.DRIFT,
    PerformanceDropped.__name__: Signal.ACCURACY_DROP,
    PerformanceRecovered.__name__: Signal.ACCURACY_DROP,
    EstimatedPerformanceDropped.__name__: Signal.ESTIMATED_LOSS,
    EstimatedPerformanceRecovered.__name__: Signal.ESTIMATED_LOSS,
    RegimeChanged.__name__: Signal.REGIME_CHANGES,
}
"""The facts that tell that the value of a signal which is read on the clock has just changed."""

REACTIONS: Mapping[str, tuple[str, ...]] = {
    VersionRegistered.__name__: (PLAN_REGISTERED, BASELINE_REGISTERED),
    VersionWithdrawn.__name__: (alerts.LEFT,),
    VersionDeleted.__name__: (alerts.LEFT,),
    **dict.fromkeys(PROMPTS, (alerts.PROMPTED,)),
    **alerts.REACTIONS,
}
