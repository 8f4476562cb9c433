"""What follows from what: for each fact, by its class's name, the kinds of job that it starts.

A reaction is a job with the fact's id; it runs in its own transactions, is tried again until it succeeds, and
is idempotent. Facts that nothing follows from are not listed.
"""

from collections.abc import Mapping

from app.alerts import jobs as alerts

REACTIONS: Mapping[str, tuple[str, ...]] = {**alerts.REACTIONS}
