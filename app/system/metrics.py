"""What `/metrics` tells beside the counts: the state of the service, the latest figures of models, and what is used.

It is read when somebody asks. What comes from the database is the same whichever replica is asked, to the second that a
look at the service is remembered for; while the database is away it is left out, for what was so a while ago may be so no more.
What lies in the spools is on this machine's disk, and is told then too: it is then that they fill.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from app.core.config import Settings
from app.monitoring.figures import Told
from app.monitoring.kinds import MEANINGS
from app.system.glance import Away, Glance, Watch
from app.system.queries import JobCounts
from app.system.resources import free_bytes, list_processes, read_container


async def read_figures(watch: Watch, settings: Settings) -> list[Metric]:
    """Everything that is so now."""
    seen = await watch.look()
    models = () if isinstance(seen, Away) else _tell_models(await watch.look_at_models())
    used = await asyncio.to_thread(lambda: [*tell_processes(), *tell_container(), *tell_disk(settings)])
    return [*tell_state(seen), *models, *used]


def tell_state(seen: Glance | Away) -> Iterator[Metric]:
    """What the database says of the service, and how far behind the log is."""
    yield _gauge(
        "database_up", "Whether the database answered within half a second.", float(isinstance(seen, Glance))
    )
    yield from _tell_backlog(seen.log.figures)
    if isinstance(seen, Away):
        return
    yield _gauge("database_latency_seconds", "Of an empty question.", seen.latency_ms / 1000)
    yield _gauge(
        "facts_unsealed_seconds", "How long the oldest fact waits to be sealed.", seen.unsealed_seconds
    )
    yield _gauge("worker_leads", "Whether a worker keeps time.", float(seen.leader is not None))
    yield _gauge("replicas_live", "Processes that say that they answer traffic.", len(seen.replicas))
    yield _tell_jobs(seen.jobs)


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value)


def _tell_jobs(jobs: JobCounts) -> Metric:
    states = {"queued": jobs.queued, "overdue": jobs.overdue, "running": jobs.running, "failed": jobs.failed}
    family = GaugeMetricFamily(
        "jobs",
        "Jobs by state; overdue ones are queued too, failed are those of the last hour.",
        labels=["state"],
    )
    for state, count in states.items():
        family.add_metric([state], count)
    return family


_AT_MOST = "while the database is away an upper bound, from what it had when it last answered."
_BACKLOG = {
    "bytes": (
        "log_spool_bytes",
        f"Bytes of this machine's spools that are not in the database yet; {_AT_MOST}",
    ),
    "frames": ("log_spool_requests", "About how many requests that is, by the mean size of those shipped."),
    "oldest_seconds": ("log_spool_oldest_seconds", f"How long the first of them has waited; {_AT_MOST}"),
    "quarantined": ("log_pieces_set_aside", "Pieces of spools that can't be shipped."),
}


def _tell_backlog(figures: Mapping[str, float]) -> Iterator[Metric]:
    for name, (metric, meaning) in _BACKLOG.items():
        if name in figures:
            yield _gauge(metric, meaning, figures[name])


def _tell_models(figures: Sequence[Told]) -> Iterator[Metric]:
    checked = GaugeMetricFamily(
        "model_checked_timestamp_seconds", "When a figure was last found.", labels=["model_version", "figure"]
    )
    for figure, meaning in MEANINGS.items():
        family = GaugeMetricFamily(f"model_{figure}", meaning, labels=["model_version"])
        for told in figures:
            if told.figure == figure:
                family.add_metric([told.model_version], told.value)
                checked.add_metric([told.model_version, figure], told.at.timestamp())
        yield family
    yield checked


def tell_processes() -> Iterator[Metric]:
    """What each process of this replica uses."""
    labels = ["role", "pid"]
    memory = GaugeMetricFamily("process_resident_memory_bytes", "Resident memory.", labels=labels)
    cpu = CounterMetricFamily("process_cpu_seconds", "Processor time, user and system.", labels=labels)
    files = GaugeMetricFamily("process_open_fds", "Open file descriptors.", labels=labels)
    started = GaugeMetricFamily("process_start_time_seconds", "When it was started.", labels=labels)
    for each in list_processes():
        key = [each.role, str(each.pid)]
        memory.add_metric(key, each.memory_bytes)
        cpu.add_metric(key, each.cpu_seconds)
        files.add_metric(key, each.open_files)
        started.add_metric(key, each.started_at)
    yield from (memory, cpu, files, started)


def tell_container() -> Iterator[Metric]:
    """What the container uses of what it may use, where its kernel tells."""
    seen = read_container()
    if seen.memory_bytes is not None:
        yield _gauge("cgroup_memory_bytes", "Memory of the container.", seen.memory_bytes)
    if seen.memory_limit_bytes is not None:
        yield _gauge("cgroup_memory_limit_bytes", "What it may use of it.", seen.memory_limit_bytes)
    if seen.cpu_seconds is not None:
        yield CounterMetricFamily("cgroup_cpu_seconds", "Processor time of the container.", seen.cpu_seconds)
    if seen.cpu_limit_cores is not None:
        yield _gauge("cgroup_cpu_limit_cores", "Cores that it may use.", seen.cpu_limit_cores)


def tell_disk(settings: Settings) -> Iterator[Metric]:
    """The room for spools."""
    free, size = free_bytes(settings.base_path)
    yield _gauge("disk_free_bytes", "Free on the disk of MLOPS_BASE_PATH.", free)
    yield _gauge("disk_size_bytes", "Of that disk.", size)
    yield _gauge("log_spool_limit_bytes", "What each process may hold in its spool.", settings.spool_bytes)
