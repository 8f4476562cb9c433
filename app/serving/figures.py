"""The numbers of predict for Prometheus."""

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import repeat

from prometheus_client import Counter, Gauge

from app.core.telemetry import Timings
from app.runtimes.cache import ModelCache
from app.runtimes.schema import Label, Signature
from app.serving.answers import PredictAnswer

_LATENCY_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_NOT_A_CLASS = ""  # the label where a prediction is a number without end, not one of a few classes
MOST_CLASSES = (
    50  # of a version, each a series in Prometheus for every process that scrapes; more are told as none
)
QUEUE_SECONDS = 1.0

PREDICTIONS = Counter(
    "model_predictions", "Rows scored.", ["model_version", "prediction_class"]
)  # exposed as model_predictions_total
LATENCY = Timings(
    "model_prediction_latency_seconds",
    "From a request's arrival to its last score.",
    ["model_version"],
    buckets=_LATENCY_SECONDS,
)
SHADOWS_DROPPED = Counter("shadow_requests_dropped", "Requests that no shadow scored: too many were waiting.")
QUEUED = Gauge(
    "model_queue_rows", "Rows that wait for a model.", ["model_version"], multiprocess_mode="livesum"
)
RECORDS_DROPPED = Counter("prediction_records_dropped", "Sampled records that found no room in the spool.")


def count_answers(answers: Iterable[PredictAnswer]) -> None:
    """Count the rows of answers by version and class, and their latencies; a shadow's are no predictions, failures none either."""
    rows: list[tuple[str, Label]] = []
    seconds: dict[str, list[float]] = {}
    for answer in answers:
        if answer.is_shadow or answer.is_empty:
            continue
        model_id, has_classes = answer.version.model_id, _has_few_classes(answer.version.signature)
        seconds.setdefault(model_id, []).append(answer.latency_ms / 1000)
        for part in answer.parts:
            predictions = part.scored.answers()
            rows.extend(
                zip(repeat(model_id), predictions if has_classes else repeat(_NOT_A_CLASS, len(predictions)))
            )
    for (model_id, prediction), count in Tally(rows).items():
        _counter_of(model_id, prediction)(count)
    for model_id, latencies in seconds.items():
        _latency_of(model_id)(latencies)


def _has_few_classes(signature: Signature) -> bool:
    return signature.classes is not None and len(signature.classes) <= MOST_CLASSES


@lru_cache(maxsize=4096, typed=True)
def _counter_of(model_id: str, prediction_class: Label) -> Callable[[float], None]:
    return PREDICTIONS.labels(model_id, prediction_class).inc


@lru_cache(maxsize=1024)
def _latency_of(model_id: str) -> Callable[[Sequence[float]], None]:
    return LATENCY.labels(model_id).observe_all


async def tell_queues(cache: ModelCache) -> None:
    """Keep telling how long the queues are. They are looked at by the clock: requests come and go by the thousand."""
    told: set[str] = set()
    while True:
        waiting = cache.queued_rows()
        for model_id in told | waiting.keys():
            QUEUED.labels(model_id).set(waiting.get(model_id, 0))
        told = set(waiting)
        await asyncio.sleep(QUEUE_SECONDS)
