"""How long a hundred thousand labels take in one call, and whether `/livez` goes on answering meanwhile.

python -m tests.bench.labels
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path

from sqlalchemy import text

from tests.bench.figures import Figure
from tests.bench.liveness import PREDICT, many_rows, p99_ms, register_forest
from tests.bench.load import post
from tests.bench.running import Connection, Running, database_of, running_service

LABELS = 100_000
PATIENCE_SECONDS = 10  # what impatient HTTP clients wait for an answer
FEEDBACK = PREDICT.replace("/predict", "/feedback")
KINDS = (
    ("new labels", 0, "accepted"),
    ("the same again", 0, "unchanged"),
    ("corrections", 1, "corrected"),
    ("labels of no class", "none", "refused"),
)


async def measure() -> list[Figure]:
    """The seconds of one call with each kind of labels; `/livez` beside each."""
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        async with running_service(Path(name)) as running:
            await register_forest(running)
            ids = await predict(running)
            return [figure for kind in KINDS for figure in await give(running, ids, *kind)]


async def predict(running: Running) -> list[str]:
    """The ids of a hundred thousand predictions, once the log has them all."""
    async with Connection(running.port) as connection:
        answer = await connection.ask_for(many_rows())
    await until_logged(running, LABELS)
    return [each["prediction_id"] for each in answer["predictions"]]


async def until_logged(running: Running, rows: int) -> None:
    async with database_of(running) as database:
        while await count_logged(database) < rows:  # noqa: ASYNC110 - what is waited for happens in Postgres
            await asyncio.sleep(0.1)


async def count_logged(database) -> int:
    async with database.reads() as session:
        return await session.scalar(text("SELECT count(*) FROM prediction"))


async def give(running: Running, ids: list[str], kind: str, label: int | str, outcome: str) -> list[Figure]:
    items = [{"prediction_id": identifier, "actual": label} for identifier in ids]
    request, seconds = post(FEEDBACK, json.dumps({"items": items}).encode()), []

    async def call(_: Running) -> None:
        began = time.perf_counter()
        async with Connection(running.port) as connection:
            counted = await connection.ask_for(request)
        seconds.append(time.perf_counter() - began)
        assert counted[outcome] == LABELS or len(counted[outcome]) == LABELS

    livez = await p99_ms(running, call, 0)
    return [
        Figure(f"{LABELS:,} labels in one call, {kind}", seconds[0], PATIENCE_SECONDS, "s", at_most=True),
        Figure(f"/livez p99 meanwhile, {kind}", livez, 100, "ms", at_most=True),
    ]


if __name__ == "__main__":
    for figure in asyncio.run(measure()):
        print(figure)
