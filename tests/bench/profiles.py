"""What watching costs: a row counted into its profile, a day of profiles added up, a window held against its reference.

python -m tests.bench.profiles
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np

from app.core.database import Actor, Database
from app.core.embedded import embedded_postgres
from app.core.ids import new_ids
from app.core.migrate import migrate
from app.evidence.arrivals import count_arrivals
from app.evidence.frames import LoggedRequest, Origin, ScoredRequest, decode_frame, encode_frame
from app.evidence.profiles import BUCKET, Counted, Place, _places, add_to_profile
from app.evidence.rules import ReferenceKind
from app.evidence.tables import ProfilePlan
from app.evidence.windows import find_reference, read_window
from app.runtimes.profiles import Answered, Plan, make_plan
from app.runtimes.schema import Signature, Task, tensor_columns
from app.stats import drift, effects
from app.stats.profile import Profile
from app.stats.reference import Reference as Prepared
from tests.bench.figures import Figure

COLUMNS, REFERENCE, ROWS = 50, 10_000, 500
DAY = int(timedelta(days=1) / BUCKET)
REQUESTS = 4096
VERSION, BENCH = UUID(int=7), Actor("bench", "admin")
START = datetime(2026, 1, 5, tzinfo=UTC)


async def measure() -> list[Figure]:
    """The processor time of each, and how long a day is read."""
    generator = np.random.default_rng(1)
    signature = Signature(tensor_columns(COLUMNS), Task.CLASSIFICATION, classes=(0, 1))
    reference = Answered(
        list(generator.normal(size=(COLUMNS, REFERENCE))), generator.integers(0, 2, REFERENCE).tolist()
    )
    plan = make_plan(signature, reference)
    was, window = plan.profile(reference), plan.profile(rows_of(generator, ROWS))
    stored, prepared = window.to_bytes(), Prepared(was)

    def check() -> None:
        read = Profile.from_bytes(plan.layout, *stored)
        drift.compare(prepared, read)

    check_ms = 1000 * processor_seconds(check)
    whole_ms = 1000 * processor_seconds(lambda: effects.measure(prepared, window))
    block = requests_of(generator)
    row_us = 1e6 * processor_seconds(counted(plan, block)) / REQUESTS
    arrival_us = 1e6 * processor_seconds(lambda: count_arrivals(block)) / REQUESTS
    return [
        Figure("a row of 50 columns counted into its profile, in a batch", row_us, 10, "µs", at_most=True),
        Figure("its arrival counted, with its answer, in a batch", arrival_us, 2, "µs", at_most=True),
        Figure("50 columns of a stored profile tested for drift", check_ms, 1, "ms", at_most=True),
        Figure("their effect sizes with intervals", whole_ms, 5, "ms", at_most=True),
        Figure(
            "a day of 5-minute profiles read and added up",
            await day_ms(plan, was, generator),
            20,
            "ms",
            at_most=True,
        ),
    ]


def rows_of(generator: np.random.Generator, rows: int) -> Answered:
    answers = generator.integers(0, 2, rows).tolist()
    return Answered(
        list(generator.normal(size=(COLUMNS, rows))),
        answers,
        generator.uniform(0.5, 1, rows),
        generator.lognormal(size=rows),
    )


def requests_of(generator: np.random.Generator) -> list[LoggedRequest]:
    """Those of one batch, a row each."""
    origin = Origin(
        "m", VERSION, 1, ("float",) * COLUMNS, "production", 1, "a", 1.0, shadow=False, log_probability=1.0
    )
    table = generator.normal(size=(REQUESTS, 1, COLUMNS))
    odds = np.tile([0.25, 0.75], (1, 1))
    frames = [
        encode_frame(ScoredRequest(origin, "r", "c", None, 1.5, new_ids(1), row, [1], odds)) for row in table
    ]
    return [decode_frame(frame) for frame in frames]


def counted(plan: Plan, block: list[LoggedRequest]) -> Callable[[], None]:
    """Counts the requests of one batch into profiles."""

    def count() -> None:
        for _, rows in _places(block):
            plan.profile(rows)

    return count


def processor_seconds(work: Callable[[], None], times: int = 30) -> float:
    """The least processor time of several runs."""
    least = float("inf")
    for _ in range(times):
        began = time.process_time()
        work()
        least = min(least, time.process_time() - began)
    return least


async def day_ms(plan: Plan, was: Profile, generator: np.random.Generator) -> float:
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        async with embedded_postgres(Path(name)) as server:
            await migrate(server.url)
            database = Database(server.url)
            await store_day(database, plan, was, generator)
            times = [await read_day(database) for _ in range(20)]
            await database.close()
    return 1000 * min(times)


async def store_day(database: Database, plan: Plan, was: Profile, generator: np.random.Generator) -> None:
    async with database.writes(BENCH) as session:
        row = ProfilePlan(version_id=VERSION, kind=ReferenceKind.SAMPLE, rows=10_000, made_at=START)
        row.columns, row.sections = plan.to_json(), was.to_bytes()
        session.add(row)
        await session.flush()
        for number in range(DAY):
            place = Place(VERSION, START + number * BUCKET, "production", "a", shadow=False)
            profile = plan.profile(rows_of(generator, ROWS))
            await add_to_profile(session, place, "spool", Counted(ROWS, profile))


async def read_day(database: Database) -> float:
    async with database.reads() as session:
        reference = await find_reference(session, VERSION)
        assert reference is not None
        began = time.perf_counter()
        window = await read_window(
            session, reference, environment="production", since=START, until=START + DAY * BUCKET
        )
        assert window.rows == DAY * ROWS
        return time.perf_counter() - began


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for figure in asyncio.run(measure()):
        print(figure)
