"""The work of a predict request without a service around it: parse, score and encode in a loop."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from app.runtimes.formats import detect_format
from app.runtimes.loading import load_model
from app.runtimes.rows import parse_rows
from app.runtimes.schema import Column, ColumnType, Signature, Task
from tests.bench.models import COLUMNS

SIGNATURE = Signature(
    tuple(Column(name, ColumnType.FLOAT) for name in COLUMNS),
    Task.CLASSIFICATION,
    ColumnType.INTEGER,
    (0, 1),
)


def rows_per_second_alone(directory: Path, body: bytes, *, seconds: float, core: int) -> tuple[float, float]:
    """Rows a second of the whole work, and of scoring alone, in a process of its own on the given core."""
    command = [sys.executable, "-m", "tests.bench.alone", str(directory), str(seconds), str(core)]
    finished = subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True)
    whole, scoring = json.loads(finished.stdout)
    return whole, scoring


def main() -> None:
    import msgspec
    from pydantic_core import from_json

    from app.core.ids import new_ids
    from app.runtimes.typed import TypedReader

    directory, seconds, core = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    os.sched_setaffinity(0, {core})
    body = sys.stdin.buffer.read()
    model = load_model(detect_format(directory), SIGNATURE, labels_from_probabilities=True)
    rows = parse_rows(from_json(body), SIGNATURE, max_rows=100_000)
    reader = TypedReader(SIGNATURE)

    def work() -> None:
        plain = reader.read(body, max_rows=100_000)
        assert plain is not None
        parsed = reader.to_rows(plain.table)
        scores = model.score(parsed)
        assert scores.probabilities is not None
        answers = zip(new_ids(parsed.count), scores.prediction, scores.probabilities.tolist(), strict=True)
        msgspec.json.encode(
            {
                "predictions": [
                    {
                        "prediction_id": key,
                        "prediction": prediction,
                        "probabilities": dict(zip(("0", "1"), row, strict=True)),
                        "confidence": max(row),
                    }
                    for key, prediction, row in answers
                ]
            }
        )

    figures = [rows.count * calls_per_second(call, seconds / 2) for call in (work, lambda: model.score(rows))]
    json.dump(figures, sys.stdout)


def calls_per_second(call: Callable[[], object], seconds: float) -> float:
    began = time.perf_counter()
    calls = 0
    while time.perf_counter() - began < seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
