"""M4: the quality of inputs on demand and by the monitor, and the alert that it raises."""

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from app.alerts import jobs as alerts
from app.alerts.rules import Signal
from app.core import clock
from app.core.config import Settings
from app.core.ids import new_id
from app.core.jobs import WORKER, claim_job, run_claim
from app.evidence.profiles import Counted, Place, add_to_profile
from app.monitoring.causes import flawed_columns
from app.monitoring.figures import list_figures
from app.monitoring.quality.jobs import watch_quality
from app.monitoring.signals import quality_scores
from app.runtimes.profiles import Answered
from app.traffic.actions import append_revision
from app.traffic.rules import Arm
from tests import make
from tests.conftest import TESTER
from tests.faults.harness import eventually
from tests.monitoring.making import plan_of, register

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def parquet_with_a_column_twice():
    held = io.BytesIO()
    columns = [pa.array([1.0, 2.0])] * 5
    pq.write_table(pa.Table.from_arrays(columns, ["x0", "x1", "x2", "x3", "x3"]), held)
    return held.getvalue()


@pytest.fixture(scope="module")
async def registered(shared_client):
    return await register(shared_client)


async def check(client, reference, **order):
    answer = await client.post(f"/api/models/{reference}/quality-check", json=order)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_rows_as_the_sample_are_of_full_quality(shared_client, registered):
    reference, table = registered
    told = await check(shared_client, reference, instances=table[:1000].tolist())
    assert told["quality_score"] > 0.97
    assert told["window"] == {
        "since": None, "until": None, "rows": 1000, "looked_through": 1000, "refused": 0.0, "repeated": 0.0,
    }  # fmt: skip


async def test_refused_repeated_and_outlying_rows_are_told_apart(shared_client, registered):
    reference, table = registered
    rows = table[:1000].tolist()
    for i in range(0, 1000, 10):
        rows[i][1] = "text"
    for i in range(5, 1000, 10):
        rows[i] = [1.0, 1.0, 1.0, 1.0]
    for i in range(1, 1000, 5):
        rows[i][2] = 1e9
    told = await check(shared_client, reference, instances=rows)
    assert told["refusals"] == [{"column": "x1", "problem": "has the wrong type", "rows": 100}]
    assert told["window"]["refused"] == pytest.approx(0.1)
    assert told["window"]["repeated"] == pytest.approx(0.099)
    worst = told["columns"][0]
    assert (worst["feature"], worst["shares"]["above_range"]) == ("x2", pytest.approx(200 / 900, abs=0.01))
    expected = 0.9 * (1 - 99 / 900) * (1 - worst["flawed"])
    assert told["quality_score"] == pytest.approx(expected)


async def test_rows_that_come_one_by_one_and_are_refused_are_seen(shared_client):
    """M4: a producer that turned a number into text is most often one that asks row by row."""
    reference, table = await register(shared_client)
    name = reference.partition(":")[0]
    for verb in ("validate", "promote"):
        done = await shared_client.post(f"/api/models/{reference}/{verb}", json={"reason": "test"})
        assert done.status_code == 200, done.text
    for row in table[:8].tolist():
        answer = await shared_client.post(f"/api/models/{name}/predict", json={"instances": [row]})
        assert answer.status_code == 200
        bad = {"instances": [[*row[:3], str(row[3])]]}
        assert (await shared_client.post(f"/api/models/{name}/predict", json=bad)).status_code == 422
    told = {}

    async def is_shipped():
        told.update(await check(shared_client, reference, window_hours=1))
        return told["window"]["looked_through"] == 16

    await eventually(is_shipped, within=60)
    assert told["window"]["refused"] == 0.5
    assert told["refusals"] == [{"column": "x3", "problem": "has the wrong type", "rows": 8}]
    assert told["quality_score"] <= 0.5


@pytest.mark.parametrize("kind", ["text/csv", "application/vnd.apache.parquet"])
async def test_a_table_has_the_quality_of_its_rows(shared_client, registered, kind):
    reference, table = registered
    frame = pd.DataFrame(table[:1500], columns=[f"x{i}" for i in range(4)])
    frame.loc[:299, "x2"] = 1e9
    frame.loc[300:599, "x1"] = np.nan
    frame.loc[600:749] = 1.0
    instances = json.loads(frame.to_json(orient="values", double_precision=15))
    frame = frame.iloc[:, ::-1].assign(stranger="a")
    told = await check_table(
        shared_client,
        reference,
        frame.to_csv(index=False) if kind == "text/csv" else frame.to_parquet(),
        kind,
    )
    assert told["refusals"] == [{"column": "x1", "problem": "is null", "rows": 300}]
    assert told["window"] == {
        "since": None, "until": None, "rows": 1200, "looked_through": 1500, "refused": 0.2,
        "repeated": pytest.approx(149 / 1500),
    }  # fmt: skip
    assert told["columns"][0]["feature"] == "x2"
    same = await check(shared_client, reference, instances=instances)
    assert told | {"check_id": same["check_id"]} == same


async def test_a_table_none_of_whose_rows_fits_has_no_quality_at_all(shared_client, registered):
    reference, _ = registered
    told = await check_table(shared_client, reference, "x0,x1,x2,x3\na,b,c,d\n", "text/csv")
    assert (told["quality_score"], told["window"]["refused"]) == (0.0, 1.0)


async def test_one_bad_cell_of_a_table_is_one_bad_row(shared_client, registered):
    reference, _ = registered
    lines = ["x0,x1,x2,x3", *["0.5,1,0.25,-1"] * 9, "0.5,much,0.25,-1"]
    told = await check_table(shared_client, reference, "\n".join(lines), "text/csv")
    assert told["window"]["rows"] == 9
    assert told["refusals"] == [{"column": "x1", "problem": "has the wrong type", "rows": 1}]


async def check_table(client, reference, content, kind):
    answer = await client.post(
        f"/api/models/{reference}/quality-check/table", content=content, headers={"Content-Type": kind}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("check_kind", ["quality-check", "drift-check"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "neither CSV nor Parquet"),
        (b"a,b\n1,2\n", "lacks columns"),
        (b"PAR1xx", "neither"),
        (b"x0,x1,x2,x3\n" + b"1,1,1,1\n" * 100_001, "at most 100000"),
        (parquet_with_a_column_twice(), "names a column twice: x3"),
    ],
    ids=["empty", "other columns", "broken Parquet", "too long", "a column twice"],
)
async def test_a_table_that_cannot_be_read_is_refused_with_the_reason(
    shared_client, registered, check_kind, content, problem
):
    reference, _ = registered
    answer = await shared_client.post(
        f"/api/models/{reference}/{check_kind}/table", content=content, headers={"Content-Type": "text/csv"}
    )
    assert answer.status_code == 422, answer.text
    assert problem in answer.json()["detail"]


async def test_rows_none_of_which_fits_have_no_quality_at_all(shared_client, registered):
    reference, _ = registered
    told = await check(shared_client, reference, instances=[["a", "b", "c", "d"], 7])
    assert (told["quality_score"], told["window"]["refused"]) == (0.0, 1.0)
    assert {"column": None, "problem": "is no row", "rows": 1} in told["refusals"]


async def test_a_window_without_rows_has_no_score(shared_client, registered):
    reference, _ = registered
    told = await check(shared_client, reference, since="2001-01-01T00:00:00Z", until="2001-01-02T00:00:00Z")
    assert (told["quality_score"], told["columns"], told["window"]["rows"]) == (None, [], 0)


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ({"instances": []}, "instances"),
        ({"window_hours": 1, "instances": [[0] * 4]}, "one of"),
        ({"until": "2026-01-01T00:00:00Z"}, "needs `since`"),
        ({"threshold": 0.5}, "threshold"),
    ],
)
async def test_what_cannot_be_looked_at_is_refused_with_the_reason(shared_client, registered, order, problem):
    reference, _ = registered
    answer = await shared_client.post(f"/api/models/{reference}/quality-check", json=order)
    assert answer.status_code == 422, answer.text
    assert problem in answer.text


async def log_rows(database, version, plan, rows, at, refused=0):
    """Rows as the shipper brings them: in the log and in their bucket's profile."""
    start = at.replace(second=0, microsecond=0)
    cells = np.array(rows, np.float64)
    async with database.writes(TESTER) as session:
        counted = Counted(len(rows), plan.profile(Answered(list(cells.T))))
        await add_to_profile(
            session, Place(version.id, start, "production", "champion", False), "spool", counted
        )
        day = f"{start:%Y%m%d}"
        await session.execute(
            text(
                f"CREATE TABLE IF NOT EXISTS prediction_{day} PARTITION OF prediction"
                f" FOR VALUES FROM ('{start:%Y-%m-%d}') TO ('{start + timedelta(days=1):%Y-%m-%d}')"
            )
        )
        wrong = json.dumps(
            [{"column": "x0", "problem": "has the wrong type", "expected": "float", "got": '"a"'}]
        )
        told = [(json.dumps(row), None) for row in cells.tolist()] + [(None, wrong)] * refused
        for number, (features, error) in enumerate(told):
            moment = start + timedelta(milliseconds=number)
            await session.execute(
                text(
                    "INSERT INTO prediction (at, id, request_id, model, version_id, version, environment, arm, propensity,"
                    " shadow, log_probability, caller, latency_ms, features, error) VALUES (:at, :id, 'r', 'm', :version,"
                    " 1, 'production', 'champion', 1, false, 1, 'c', 1, CAST(:features AS json), CAST(:error AS json))"
                ),
                {"at": moment, "id": new_id(), "version": version.id, "features": features, "error": error},
            )


async def test_the_monitor_looks_once_and_a_poor_hour_opens_an_incident_by_the_first_rule(
    database, monkeypatch
):
    async with database.writes(TESTER) as session:
        version = await make.version(session)
        arms = [Arm("champion", version.id, 1.0)]
        await append_revision(session, version.model_id, "production", arms, kind="set")
    plan = await plan_of(database, version)
    generator = np.random.default_rng(6)
    for number in range(2):
        at = NOON + number * timedelta(minutes=5)
        rows = generator.normal(size=(200, 2))
        if number:
            rows[:100, 1] = 1e6
        await log_rows(database, version, plan, rows, at, refused=50 * number)
        monkeypatch.setattr(clock, "now", lambda at=at: at + timedelta(minutes=6))
        for _ in range(2):  # the second finds nothing to do
            async with database.writes(WORKER) as session:
                await watch_quality(session, version.id, "production", Settings())
    async with database.reads() as session:
        stored = (
            await session.execute(text("SELECT score, refused, reasons FROM quality_verdict ORDER BY at"))
        ).all()
        hour = await quality_scores(session, NOON - timedelta(minutes=50), NOON + timedelta(minutes=12))
        figures = await list_figures(session)
    assert len(stored) == 2
    assert stored[0].score == 1.0
    assert stored[1].score == pytest.approx(0.8 * 0.5, abs=0.1)
    assert stored[1].refused == pytest.approx(0.2)
    assert stored[1].reasons == [{"column": "x0", "problem": "has the wrong type", "rows": 50}]
    assert hour["m"] == pytest.approx((stored[0].score + stored[1].score) / 2)
    assert [(told.model_version, told.figure, told.value) for told in figures] == [
        ("m:1", "quality_score", stored[1].score)
    ]
    signal = Signal.QUALITY_SCORE
    handlers = alerts.job_handlers(Settings(), {signal: quality_scores}, {signal: flawed_columns})
    await alerts.queue_looks(database)
    while claim := await claim_job(database, [alerts.QUEUE], list(handlers)):
        await asyncio.wait_for(run_claim(claim, handlers[claim.kind]), 30)
    async with database.reads() as session:
        query = "SELECT rule, subject, value, evidence->'features_to_look_at' FROM incident"
        incidents = (await session.execute(text(query))).all()
    assert [tuple(each) for each in incidents] == [("quality-score", "model:m", hour["m"], ["x1"])]
