"""What follows from what: for each fact, by its class's name, the kinds of job that it starts.

A reaction is a job with the fact's id; it runs in its own transactions, is tried again until it succeeds, and
is idempotent. Facts that nothing follows from are not listed.
"""

from collections.abc import Mapping

from app.alerts import jobs as alerts
from app.deployments.facts import VersionWithdrawn
from app.evidence.jobs import PLAN_REGISTERED
from app.monitoring.performance.baselines import BASELINE_REGISTERED
from app.registry.facts import VersionDeleted, VersionRegistered

REACTIONS: Mapping[str, tuple[str, ...]] = {
    VersionRegistered.__name__: (PLAN_REGISTERED, BASELINE_REGISTERED),
    VersionWithdrawn.__name__: (alerts.LEFT,),
    VersionDeleted.__name__: (alerts.LEFT,),
    **alerts.REACTIONS,
}
