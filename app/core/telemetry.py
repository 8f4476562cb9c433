"""Logs, metrics and request ids: one JSON line and one set of counts for every request."""

import asyncio
import json
import logging
import os
import re
import shutil
import sys
import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
import structlog
from fastapi.telemetry import TelemetryConfig
from prometheus_client import (
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import REGISTRY, Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.ids import new_id

_SHARED = "PROMETHEUS_MULTIPROC_DIR"  # looked at by the library when the first metric is made
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Timings(Histogram):
    """A histogram that takes all the values of one turn of the event loop at once."""

    def observe_all(self, seconds: Sequence[float]) -> None:
        """Observe each: one change of the sum, and one of each bucket that some fall into."""
        self._sum.inc(sum(seconds))
        for place, count in Tally(bisect_left(self._upper_bounds, each) for each in seconds).items():
            self._buckets[place].inc(count)


REGISTRY.unregister(PROCESS_COLLECTOR)  # it knows its own process only; `app.system.resources` tells of all
REQUESTS = Counter("http_requests_total", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Timings(
    "http_request_duration_seconds", "Time to the last byte.", ["route"], buckets=_SECONDS
)


def configure_logging(level: str) -> None:
    """JSON lines on standard error, standard-library loggers included."""
    minimum = getattr(logging, level.upper())
    _ENDED.is_logged = minimum <= logging.INFO
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(_as_line),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(),
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(minimum, logging.WARNING), force=True)


_ENCODER = json.JSONEncoder(default=repr)


def _as_line(event: dict[str, Any], **_: Any) -> str:
    """`json.dumps` would make an encoder for every line."""
    return _ENCODER.encode(event)


class Visit:
    """One request: its id, the clock that runs, and at its end one line in the log and one count."""

    __slots__ = ("began", "header", "request_id", "scope", "seconds", "status")

    def __init__(self, scope: Scope) -> None:
        self.began = time.perf_counter()
        self.scope = scope
        self.request_id = _accepted_id(scope) or str(new_id())
        self.header = (b"x-request-id", self.request_id.encode())
        self.status = 500
        scope.setdefault("state", {})["request_id"] = self.request_id

    def end(self) -> None:
        """Stop the clock; the line is written and the request counted before the event loop waits again."""
        self.seconds = time.perf_counter() - self.began
        _ENDED.add(self)


class RequestLog:
    """Gives each request its id, and when it is answered writes its one line and counts it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = Visit(scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                message["headers"] = [*message.get("headers", ()), visit.header]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            visit.end()


class _Ended:
    """The requests that have ended in this turn of the event loop: counted together, and their lines written in one call."""

    def __init__(self) -> None:
        self.is_logged = True
        self._visits: list[Visit] = []

    def add(self, visit: Visit) -> None:
        """Take a request in, to be told of when this turn ends."""
        if not self._visits:
            asyncio.get_running_loop().call_soon(self._tell)
        self._visits.append(visit)

    def _tell(self) -> None:
        visits, self._visits = self._visits, []
        _count(visits)
        if self.is_logged:
            now = datetime.now(UTC).isoformat()[:-6]
            sys.stderr.write("".join([_line_of(visit, now) for visit in visits]))
            sys.stderr.flush()


def _count(visits: Iterable[Visit]) -> None:
    alike: dict[tuple[str, str, int], list[float]] = {}
    for visit in visits:
        scope = visit.scope
        route = str(scope.get("route_template") or getattr(scope.get("route"), "path", "unmatched"))
        alike.setdefault((scope["method"], route, visit.status), []).append(visit.seconds)
    for kind, seconds in alike.items():
        count, observe_all = _metrics_of(*kind)
        count(len(seconds))
        observe_all(seconds)


def _line_of(visit: Visit, now: str) -> str:
    """What `structlog` would make of a request, in a tenth of the time."""
    scope = visit.scope
    caller = scope["state"].get("caller")
    named = "null" if caller is None else _quoted(caller.name)
    return (
        f'{{"method": {_quoted(scope["method"])}, "path": {_quoted(scope["path"])}, "status": {visit.status}, '
        f'"ms": {visit.seconds * 1000:.3f}, "request_id": "{visit.request_id}", "caller": {named}, '
        f'"event": "request", "level": "info", "timestamp": "{now}Z"}}\n'
    )


_ENDED = _Ended()
_quoted = json.encoder.encode_basestring_ascii


def _accepted_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return None


@lru_cache(maxsize=4096)
def _metrics_of(
    method: str, route: str, status: int
) -> tuple[Callable[[float], None], Callable[[Sequence[float]], None]]:
    """What counts and times such requests; looking it up by its labels takes a lock and longer than counting."""
    counted = method if method in _METHODS else "OTHER"
    return REQUESTS.labels(counted, route, status).inc, REQUEST_SECONDS.labels(route).observe_all


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def shared_metrics(base_path: Path) -> dict[str, str]:
    """What the processes of one replica need in their environment to add up what they count.

    Each counts in a file of its own, which outlives it: a count never goes back when a process is replaced.
    """
    directory = base_path / "metrics"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return {_SHARED: str(directory)}


class _Read(Collector):
    """Figures that were read for one exposition."""

    def __init__(self, figures: Iterable[Metric]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """As they were read."""
        return self._figures


def exposition(figures: Iterable[Metric] = ()) -> bytes:
    """Every metric of every process of this replica, and some figures beside them, in the Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(_Read(figures))
    directory = os.environ.get(_SHARED)
    if directory is None:
        registry.register(REGISTRY)
    else:
        _forget_the_dead(Path(directory))
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _forget_the_dead(directory: Path) -> None:
    """What a process that ended held last is no gauge of the present; what it counted stays."""
    for path in directory.glob("gauge_live*_*.db"):
        if not psutil.pid_exists(int(path.stem.rpartition("_")[2])):
            path.unlink(missing_ok=True)


def tracing(enabled: bool) -> TelemetryConfig | None:  # noqa: FBT001 - the one setting that it turns into options
    """The options with which FastAPI traces requests, or None: off unless asked for."""
    if not enabled:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": "switchyard"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return TelemetryConfig(tracer_provider=provider, operation_spans=False)
