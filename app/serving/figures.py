"""The numbers of predict for Prometheus."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import repeat

from prometheus_client import Counter

from app.core.telemetry import Timings
from app.runtimes.schema import Label
from app.serving.answers import PredictAnswer

_LATENCY_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_NOT_A_CLASS = ""  # the label where a prediction is a number without end, not one of a few classes

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
RECORDS_DROPPED = Counter("prediction_records_dropped", "Sampled records that found no room in the spool.")


def count_answers(answers: Iterable[PredictAnswer]) -> None:
    """Count the rows of answers by version and class, and their latencies; a shadow's are no predictions."""
    rows: list[tuple[str, Label]] = []
    seconds: dict[str, list[float]] = {}
    for answer in answers:
        if answer.is_shadow:
            continue
        model_id, has_classes = answer.version.model_id, answer.version.signature.classes is not None
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


@lru_cache(maxsize=4096, typed=True)
def _counter_of(model_id: str, prediction_class: Label) -> Callable[[float], None]:
    return PREDICTIONS.labels(model_id, prediction_class).inc


@lru_cache(maxsize=1024)
def _latency_of(model_id: str) -> Callable[[Sequence[float]], None]:
    return LATENCY.labels(model_id).observe_all
