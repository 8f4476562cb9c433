"""M9: where drift hangs on how the rows of a window depend on each other, the log is asked for their order."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import text

from app.core import clock
from app.core.jobs import WORKER, enqueue
from app.evidence import in_order
from app.evidence.in_order import read_in_order
from app.evidence.profiles import BUCKET
from app.evidence.windows import find_reference, start_of_bucket
from app.monitoring.jobs import WATCH
from tests import make
from tests.conftest import TESTER, running
from tests.evidence.making import log_requests, scored_request
from tests.faults.harness import eventually
from tests.monitoring.making import plan_of
from tests.monitoring.test_performance_watch import id_at
from tests.monitoring.test_watching import MONDAY, Stream, autoregressive, drawn


class Logged(Stream):
    """A stream whose rows go through the spool into the log, and are counted on the way."""

    async def came(self, start, table, **changes):
        gap = BUCKET / len(table[0])
        ids = [id_at(start + i * gap) for i in range(len(table[0]))]
        told = {"version_id": self.version.id, "predictions": [1] * len(ids), "features": np.array(table).T}
        request = scored_request(len(ids), ids=ids, **told)
        await log_requests(
            self.database, self.directory, replace(request, origin=replace(request.origin, **changes))
        )

    async def read(self, since=MONDAY, until=MONDAY + BUCKET):
        async with self.database.reads() as session:
            reference = await find_reference(session, self.version.id)
            ends = {"since": since, "until": until}
            return await read_in_order(
                session, reference.plan, self.version, environment="production", **ends
            )


@pytest.fixture
async def logged(database, monkeypatch, tmp_path):
    async def logged(**options):
        async with database.writes(TESTER) as session:
            version = await make.version(session)
        stream = Logged(
            database, monkeypatch, version, await plan_of(database, version, in_time=False, **options)
        )
        stream.directory = tmp_path
        return stream

    return logged


async def test_a_shift_is_proven_in_the_first_window_though_the_reference_may_be_shuffled(logged):
    stream, generator = await logged(), np.random.default_rng(21)
    await stream.came(MONDAY, drawn(generator, 500, 0.4))
    await stream.watch(MONDAY + 2 * BUCKET)
    [verdict] = await stream.verdicts()
    assert (await stream.facts(), verdict.finding) == (["DriftDetected"], "drift")
    assert verdict.basis["rows_in_order"] == 500
    assert verdict.basis["design_effects"][0] < 4


async def test_the_worker_of_a_running_service_proves_it(logged, settings, monkeypatch):
    stream, generator = await logged(), np.random.default_rng(22)
    monkeypatch.undo()
    async with running(settings):
        await stream.came(start_of_bucket(clock.now()) - 3 * BUCKET, drawn(generator, 500, 0.4))
        payload = {"version_id": str(stream.version.id), "environment": "production"}
        async with stream.database.writes(WORKER) as session:
            await enqueue(session, WATCH, payload)

        async def is_seen():
            return bool(await stream.verdicts())

        await eventually(is_seen, within=60)
    assert await stream.facts() == ["DriftDetected"]


@pytest.mark.parametrize(("phi", "effect"), [(0.5, 3.0), (0.9, 19.0)])
async def test_dependent_rows_that_happen_to_be_far_off_are_read_and_raise_no_alarm(logged, phi, effect):
    """The farthest of a hundred windows without drift: independent rows would prove it, and with .9 even ten for one."""
    generator = np.random.default_rng(23)
    shuffled = generator.permutation(autoregressive(generator, 10_000, phi), axis=1)
    stream = await logged(table=shuffled)
    windows = autoregressive(generator, 100 * 500, phi).reshape(2, 100, 500)
    farthest = np.abs(windows[0].mean(axis=1)).argmax()
    await stream.came(MONDAY, windows[:, farthest])
    await stream.watch(MONDAY + 2 * BUCKET)
    [verdict] = await stream.verdicts()
    assert await stream.facts() == []
    assert verdict.basis["rows_in_order"] == 500
    assert effect * 0.7 < verdict.basis["design_effects"][0] < effect * 4


async def test_where_the_log_holds_the_rows_no_more_ten_count_for_one(logged):
    stream, generator = await logged(), np.random.default_rng(24)
    await stream.came(MONDAY, drawn(generator, 500, 0.4))
    async with stream.database.writes(TESTER) as session:
        await session.execute(text("DELETE FROM prediction"))
    await stream.watch(MONDAY + 2 * BUCKET)
    [verdict] = await stream.verdicts()
    assert await stream.facts() == []
    assert verdict.basis["rows_in_order"] == 0
    assert verdict.basis["design_effects"][:2] == [10.0, 10.0]


async def test_rows_are_read_as_they_came_and_only_those_that_were_counted(logged, monkeypatch):
    stream = await logged()
    assert (await stream.read()).rows == 0
    mine = np.array([np.arange(60.0), np.full(60, np.nan)])
    late, early = mine[:, 30:], mine[:, :30]
    await stream.came(MONDAY + BUCKET, late)
    await stream.came(MONDAY, early)
    for changes in ({"shadow": True}, {"environment": "staging"}, {"version_id": make.some_id()}):
        await stream.came(MONDAY, early + 1000, **changes)
    await stream.came(MONDAY + BUCKET * 2, early + 2000)
    read = await stream.read(until=MONDAY + 2 * BUCKET)
    assert (read.rows, read.columns[0].tolist()) == (60, mine[0].tolist())
    assert np.isnan(read.columns[1]).all()
    assert [len(column) for column in read.columns] == [60] * len(stream.plan.columns)
    monkeypatch.setattr(in_order, "MOST_ROWS", 10)
    assert (await stream.read(until=MONDAY + 2 * BUCKET)).columns[0].tolist() == mine[0, 50:].tolist()
    monkeypatch.setattr(in_order, "MOST_PASSED", 5)
    assert (await stream.read(until=MONDAY + 2 * BUCKET)).columns[0].tolist() == mine[0, 55:].tolist()
