"""How attempts at jobs ended, and how long they took, by the kind of job."""

from collections.abc import Iterable

from prometheus_client import Counter, Histogram

_ENDED = Counter(
    "jobs_attempted_total",
    "Attempts at jobs, by how they ended: done, paused, retried, failed, lost.",
    ["kind", "result"],
)
_SECONDS = Histogram(
    "job_duration_seconds",
    "Of one attempt.",
    ["kind"],
    buckets=(0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0),
)


def count_from_zero(kinds: Iterable[str]) -> None:
    """Show every count of attempts before the first one: Prometheus sees no increase in a series that begins with 1."""
    for kind in kinds:
        for result in ("done", "paused", "retried", "failed", "lost"):
            _ENDED.labels(kind, result)


def count_attempt(kind: str, result: str, seconds: float) -> None:
    """Count one, and its time."""
    _ENDED.labels(kind, result).inc()
    _SECONDS.labels(kind).observe(seconds)
