"""M1: every logged row is counted once into its version's profile, in the transaction that logs it."""

import json
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text

from app.core import clock
from app.evidence.profiles import BUCKET, Counted, Place, add_to_profile
from app.evidence.rules import ReferenceKind
from app.evidence.tables import ProfilePlan
from app.evidence.windows import start_of_latest
from app.runtimes.profiles import Answered, Plan, make_plan
from app.runtimes.schema import Column, ColumnType, Signature, Task
from app.stats.profile import Profile, merge
from tests.conftest import TESTER
from tests.evidence.making import log_requests, scored_request

VERSION = UUID(int=7 << 76 | 1)
SIGNATURE = Signature(
    (Column("a", ColumnType.FLOAT), Column("b", ColumnType.FLOAT)),
    Task.CLASSIFICATION,
    ColumnType.INTEGER,
    (0, 1),
)


def reference(rows: int = 2000) -> Answered:
    generator = np.random.default_rng(1)
    table = generator.normal(size=(2, rows))
    return Answered(list(table), generator.integers(0, 2, rows).tolist(), generator.uniform(0.5, 1, rows))


@pytest.fixture
async def plan(database) -> Plan:
    made = make_plan(SIGNATURE, reference())
    await keep(database, made, reference())
    return made


async def keep(database, made: Plan, rows: Answered) -> None:
    row = ProfilePlan(version_id=VERSION, kind=ReferenceKind.SAMPLE, rows=2000, made_at=clock.now())
    row.columns, row.sections = made.to_json(), made.reference(rows).to_bytes()
    async with database.writes(TESTER) as session:
        session.add(row)


async def stored(database, plan):
    async with database.reads() as session:
        rows = (await session.execute(text("SELECT * FROM live_profile ORDER BY bucket, arm"))).all()
    profiles = [
        Profile.from_bytes(plan.layout, row.counts, row.sums, row.extremes, row.labels) for row in rows
    ]
    return rows, profiles


async def test_rows_are_counted_by_bucket_and_arm_as_one_pass_would(database, tmp_path, plan):
    generator = np.random.default_rng(2)
    requests = [
        scored_request(3, features=generator.normal(size=(3, 2)), arm=arm)
        for arm in ("champion", "challenger", "champion")
    ]
    for request in requests:  # three transactions
        await log_requests(database, tmp_path, request)
    rows, profiles = await stored(database, plan)
    assert sum(row.rows for row in rows) == 9
    assert {row.arm for row in rows} == {"champion", "challenger"}
    table = np.concatenate([request.features for request in requests])
    odds = np.concatenate([request.probabilities for request in requests])
    whole = plan.profile(Answered(list(table.T), [1] * 9, odds.max(axis=1), np.full(9, 1.5)))
    together = merge(profiles)
    assert np.array_equal(together.counts, whole.counts)
    assert np.array_equal(together.sums, whole.sums)
    assert np.array_equal(together.extremes, whole.extremes)


async def test_labels_without_a_bin_are_counted_each_by_itself_over_transactions(database, tmp_path):
    kinds = Column("kind", ColumnType.STRING, categories=("a",)), SIGNATURE.inputs[1]
    signature = Signature(kinds, Task.CLASSIFICATION, ColumnType.INTEGER, (0, 1))
    rows = Answered([["a"] * 2000, np.zeros(2000)], [0, 1] * 1000)
    made = make_plan(signature, rows)
    await keep(database, made, rows)
    for labels in (["a", "new"], ["new", "other"]):
        features, types = [[label, 0.0] for label in labels], ("string", "float")
        await log_requests(
            database, tmp_path, scored_request(2, features=features, column_types=types, arm="champion")
        )
    _, profiles = await stored(database, made)
    seen, *_ = merge(profiles).labels
    assert sorted(seen.counts.tolist()) == [1, 2]


async def test_a_window_of_so_many_rows_begins_with_the_bucket_that_makes_them_up(database, plan):
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    for number, rows in enumerate((10, 20, 30)):
        for spool in ("one", "two"):
            place = Place(VERSION, noon + number * BUCKET, "production", "a", shadow=False)
            some = plan.profile(Answered([np.zeros(rows // 2), np.zeros(rows // 2)]))
            async with database.writes(TESTER) as session:
                await add_to_profile(session, place, spool, Counted(rows // 2, some))
    until, starts = noon + 3 * BUCKET, []
    async with database.reads() as session:
        for rows, arm in ((1, None), (30, None), (31, None), (50, "a"), (1000, None), (1, "b")):
            starts.append(
                await start_of_latest(session, VERSION, "production", rows=rows, until=until, arm=arm)
            )
    assert [(until - start) // BUCKET for start in starts] == [1, 1, 2, 2, 3, 0]


async def test_people_can_read_the_counts(database, tmp_path, plan):
    await log_requests(database, tmp_path, scored_request(5))
    async with database.reads() as session:
        counted = await session.scalar(
            text("SELECT sum(count) FROM live_profile_cell WHERE column_number = 0 AND cell < 128")
        )
    assert counted == 5


async def test_a_version_without_a_plan_is_logged_and_has_one_asked_for(database, tmp_path):
    await log_requests(database, tmp_path, scored_request(2))
    async with database.reads() as session:
        assert await session.scalar(text("SELECT count(*) FROM prediction")) == 2
        assert await session.scalar(text("SELECT count(*) FROM live_profile")) == 0
        jobs = (await session.execute(text("SELECT kind, payload FROM job"))).all()
    assert [(job.kind, job.payload) for job in jobs] == [("plan_profile", {"version_id": str(VERSION)})]


def test_a_plan_survives_being_stored():
    made = make_plan(SIGNATURE, reference())
    again = Plan.from_json(json.loads(json.dumps(made.to_json())))
    assert np.array_equal(again.profile(reference()).counts, made.profile(reference()).counts)
    assert [column.name for column in again.columns] == ["a", "b", "prediction", "confidence", "latency_ms"]


async def test_answers_that_no_profile_can_count_are_logged_all_the_same(database, tmp_path):
    regression = Signature(SIGNATURE.inputs, Task.REGRESSION)
    made = make_plan(regression, Answered(reference().inputs, [1.5] * 2000))
    await keep(database, made, Answered(reference().inputs))
    await log_requests(database, tmp_path, scored_request(3, predictions=["high", "low", "high"]))
    async with database.reads() as session:
        assert await session.scalar(text("SELECT count(*) FROM prediction")) == 3
        assert await session.scalar(text("SELECT count(*) FROM live_profile")) == 0
