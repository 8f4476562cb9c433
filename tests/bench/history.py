"""How long a year of history takes, and a check of its last month: of performance, and of drift.

python -m tests.bench.history
"""

import asyncio
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
from sqlalchemy import text

from app.core.database import Actor, Database
from app.core.jobs import WORKER
from app.evidence.outcome_sums import DAY, FIVE_MINUTES, HOUR, start_of
from app.evidence.realised import Labelled, Realised, add_up, realise
from app.monitoring.retention import roll_up_verdicts
from app.runtimes.schema import Signature
from tests import make
from tests.bench.figures import Figure
from tests.bench.running import Running, database_of, running_service

DAYS, ROWS, TURNS = 365, 40, 5
MOST_MS = 200
BENCH = Actor("bench", "admin")
COLUMNS = (
    "version_id, minutes, bucket, environment, arm, shadow, model, version, rows, labelled, sums, made_at"
)


async def measure() -> list[Figure]:
    """The median time of each question, in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        async with running_service(Path(name)) as running:
            async with database_of(running) as database:
                await fill(database)
            return await ask(running)


async def fill(database: Database) -> None:
    """A year of five minutes with labels, and of the verdicts of a drift monitor."""
    async with database.writes(BENCH) as session:
        version = await make.version(session, "m")
        now = datetime.now(UTC)
        first = start_of(now, DAY) - timedelta(days=DAYS)
        await write_sums(session, version, first)
        await session.execute(
            text(
                "INSERT INTO drift_verdict SELECT gen_random_uuid(), :model_id, :version_id, 1, 'production', at, at, at, 500,"
                " 'worker', 'no_relevant_drift', 'NO_ACTION_NEEDED', random() / 10, 0, 0.1, 1e-6, 0.1, '[]'"
                " FROM generate_series(CAST(:first AS timestamptz), now(), interval '5 minutes') AS at"
            ),
            {"model_id": version.model_id, "version_id": version.id, "first": first},
        )
    async with database.writes(WORKER) as session:  # as the hourly upkeep has done by then
        await roll_up_verdicts(session)


async def write_sums(session, version, first: datetime) -> None:
    signature = Signature.from_json(version.signature)
    fives = [made(signature, seed) for seed in range(48)]
    connection = await (await session.connection()).get_raw_connection()
    rows = {FIVE_MINUTES: [], HOUR: [], DAY: []}
    hours = [add_up(fives[i : i + 12]) for i in range(0, 48, 12)]
    day = add_up(hours * 6)
    for i in range(DAYS * 288):
        rows[FIVE_MINUTES].append((first + i * timedelta(minutes=5), fives[i % 48]))
    for i in range(DAYS * 24):
        rows[HOUR].append((first + i * timedelta(hours=1), hours[i % 4]))
    for i in range(DAYS):
        rows[DAY].append((first + i * timedelta(days=1), day))
    written = {id(sums): json.dumps(sums.to_json()) for sums in [*fives, *hours, day]}
    records = (
        (version.id, minutes, at, "production", "champion", False, "m", 1, sums.rows, sums.labelled, written[id(sums)], at)
        for minutes, each in rows.items()
        for at, sums in each
    )  # fmt: skip
    await connection.driver_connection.copy_records_to_table(
        "live_outcome", records=records, columns=COLUMNS.split(", ")
    )


def made(signature: Signature, seed: int) -> Realised:
    generator = np.random.default_rng(seed)
    odds = generator.random(ROWS)
    actual, predicted = (generator.random(ROWS) < odds).astype(int), (odds > 0.5).astype(int)
    probabilities = np.column_stack([1 - odds, odds]).tolist()
    labelled = Labelled(actual.tolist(), predicted.tolist(), probabilities, [60.0] * ROWS)
    return realise(signature, labelled, None) + Realised(rows=ROWS)


async def ask(running: Running) -> list[Figure]:
    figures = []
    async with httpx.AsyncClient(base_url=running.address, timeout=60) as client:
        for what, method, path, body in (
            ("a year of performance by day", "GET", "performance-history?days=365", None),
            ("a month of performance by hour", "GET", "performance-history?days=31&granularity=hour", None),
            ("a year of drift by day", "GET", "drift-history?days=365", None),
            ("a performance check of a month", "POST", "performance-check", {"window_hours": 24 * 30}),
        ):
            seconds = []
            for _ in range(TURNS):
                began = time.perf_counter()
                answer = await client.request(
                    method, f"/api/models/m{':1' if body else ''}/{path}", json=body
                )
                seconds.append(time.perf_counter() - began)
                assert answer.status_code == 200, answer.text
            figures.append(Figure(what, statistics.median(seconds) * 1000, MOST_MS, "ms", at_most=True))
    return figures


if __name__ == "__main__":
    for figure in asyncio.run(measure()):
        print(figure)
