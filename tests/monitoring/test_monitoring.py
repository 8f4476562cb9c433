"""M2, M3, M8, M9: drift on demand, on rows that come along, and as a monitor sees it come and go."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text, update

from app.core import clock
from app.core.config import Settings
from app.core.ids import new_id
from app.core.jobs import Job, JobState, enqueue
from app.evidence.profiles import Counted, Place, add_to_profile, plan_job
from app.evidence.windows import find_reference, read_window
from app.monitoring.drift.watching import watch_version
from app.monitoring.signals import drift_scores
from app.runtimes.profiles import Answered
from app.stats.profile import Profile
from tests import make
from tests.conftest import TESTER, client_of, running
from tests.faults.harness import eventually
from tests.monitoring.making import COLUMNS, plan_of, register

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
async def house(settings: Settings):
    async with running(settings) as service, client_of(service) as client:
        yield client, await register(client)


async def test_rows_that_come_along_are_held_against_the_sample(house):
    client, (reference, table) = house
    same = await client.post(
        f"/api/models/{reference}/drift-check", json={"instances": table[:2000].tolist()}
    )
    moved = table[:2000] + np.array([0.0, 2.0] + [0.0] * (COLUMNS - 2))
    other = await client.post(f"/api/models/{reference}/drift-check", json={"instances": moved.tolist()})
    assert (same.status_code, other.status_code) == (200, 200), (same.text, other.text)
    quiet, loud = same.json(), other.json()
    assert (quiet["drift_detected"], quiet["recommendation"]) == (False, "NO_ACTION_NEEDED")
    assert (loud["drift_detected"], loud["recommendation"]) == (True, "RETRAIN_IMMEDIATELY")
    assert loud["evidence"]["features_to_look_at"] == ["x1"]
    assert loud["feature_drifts"][0]["feature"] == "x1"
    assert loud["feature_drifts"][0]["shift"] == pytest.approx(2.0, abs=0.2)
    assert loud["reference"]["kind"] == "sample"
    groups = loud["feature_drifts"][0]["groups"]
    assert sum(group["window"] for group in groups) == pytest.approx(1.0, abs=1e-4)
    assert [group["low"] for group in groups[1:]] == [group["high"] for group in groups[:-1]]
    assert (groups[0]["low"], groups[-1]["high"], loud["window"]["rows_refused"]) == (None, None, 0)


async def test_the_log_is_looked_at_and_the_verdict_kept(house):
    client, (reference, table) = house
    for verb in ("validate", "promote"):
        answer = await client.post(f"/api/models/{reference}/{verb}", json={"reason": "test"})
        assert answer.status_code == 200, answer.text
    name = reference.partition(":")[0]
    answer = await client.post(
        f"/api/models/{name}/predict", json={"instances": (table[:900] + 3.0).tolist()}
    )
    assert answer.status_code == 200, answer.text
    checked = await drift_when_rows(client, name, 900)
    assert checked["drift_detected"]
    told = {each["feature"] for each in checked["feature_drifts"]}
    assert told >= {"x0", "prediction", "confidence"}
    assert "latency_ms" not in told
    latest = await client.post(f"/api/models/{name}/drift-check", json={"window_rows": 500})
    window = latest.json()["window"]
    assert (window["rows"], window["rows_refused"]) == (900, None)
    assert {datetime.fromisoformat(window[end]).timestamp() % 300 for end in ("since", "until")} == {0}
    history = (await client.get(f"/api/models/{name}/drift-history", params={"days": 2})).json()
    assert [point["drift_detected"] for point in history["items"]] == [True]
    assert history["items"][0]["score"] == checked["drift_score"]
    assert history["items"][0]["checks"] >= 2
    assert history["items"][0]["rows"] == 900  # of overlapping windows the largest


async def drift_when_rows(client, name: str, rows: int):
    """The answer once the shipper has brought the rows."""
    answers = []

    async def has_rows():
        answers.append(await client.post(f"/api/models/{name}/drift-check", json={"window_hours": 1}))
        assert answers[-1].status_code == 200, answers[-1].text
        return answers[-1].json()["window"]["rows"] >= rows

    await eventually(has_rows, within=60)
    return answers[-1].json()


async def test_a_table_is_held_against_the_sample_by_its_columns_names(shared_client):
    reference, table = await register(shared_client)
    lines = [",".join(["other", *(f"x{i}" for i in reversed(range(COLUMNS)))])]
    lines += [",".join(["a", *map(str, row[::-1])]) for row in (table + 1.0).tolist()]
    answer = await shared_client.post(
        f"/api/models/{reference}/drift-check/table",
        content="\n".join(lines),
        headers={"Content-Type": "text/csv"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["window"] | {"since": None} == {
        "since": None, "until": None, "rows": 2000, "buckets": None, "rows_refused": 0,
    }  # fmt: skip
    assert answer.json()["evidence"]["columns_drifted"] >= COLUMNS
    strict = await shared_client.post(
        f"/api/models/{reference}/drift-check/table?threshold=0.5&false_alarm_rate=0.01",
        content="\n".join(lines),
        headers={"Content-Type": "text/csv"},
    )
    assert (strict.json()["threshold"], strict.json()["false_alarm_rate"]) == (0.5, 0.01)


async def test_a_table_none_of_whose_rows_fits_is_refused_with_the_reason(shared_client):
    reference, _ = await register(shared_client)
    answer = await shared_client.post(
        f"/api/models/{reference}/drift-check/table",
        content="x0,x1,x2,x3\n,,,\n",
        headers={"Content-Type": "text/csv"},
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith("None of the 1 rows fits the model; the first: x0")


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ({"instances": []}, "instances"),
        ({"window_hours": 1, "instances": [[0] * COLUMNS]}, "one of"),
        ({"window_hours": 1, "window_rows": 5}, "one of"),
        ({"window_rows": 0}, "window_rows"),
        ({"until": "2026-01-01T00:00:00Z"}, "needs `since`"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "before"),
        ({"window_hours": -1}, "window_hours"),
        ({"instances": [["text"] * COLUMNS, None]}, "None of the 2 rows"),
        ({"instances": [[1.0] * (COLUMNS + 1)]}, "None of the 1 rows"),
        ({"threshold": 2}, "threshold"),
    ],
)
async def test_what_cannot_be_looked_at_is_refused_with_the_reason(shared_client, order, problem):
    reference, _ = await register(shared_client)
    answer = await shared_client.post(f"/api/models/{reference}/drift-check", json=order)
    assert answer.status_code == 422, answer.text
    assert problem in answer.text
    assert "Value error" not in answer.text


async def test_a_version_without_a_reference_says_what_it_waits_for(shared_client):
    reference, _ = await register(shared_client, with_sample=False)
    answer = await shared_client.post(f"/api/models/{reference}/drift-check", json={"window_hours": 1})
    assert answer.status_code == 409
    assert "first 1000 rows" in answer.json()["detail"]


async def said_of_sample(database, client, **job):
    """What a check says while the job that profiles a sample stands so."""
    async with database.writes(TESTER) as session:
        made = await make.version(session, f"m-{new_id().hex}", probe={"rows": {"reference": "0" * 64}})
        if job:
            await enqueue(session, "never done", {}, dedupe_key=plan_job(made.id))
            await session.execute(update(Job).where(Job.dedupe_key == plan_job(made.id)).values(**job))
    answer = await client.post(f"/api/models/{made.model_reference}/drift-check", json={})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/no-reference-yet")
    return answer.json()["detail"]


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ({}, "is being made of its sample: ask again in a few seconds"),
        ({"state": JobState.RUNNING}, "is being made of its sample: ask again in a few seconds"),
        ({"error": "no room\n[SQL: …]"}, "so far: no room. It is tried again"),
        ({"state": JobState.FAILED, "error": "no room"}, "sample: no room. Register the model once more"),
    ],
)
async def test_a_version_whose_sample_is_not_profiled_yet_says_how_that_goes(database, client, job, told):
    assert told in await said_of_sample(database, client, **job)


async def test_how_a_model_is_watched_can_be_said(shared_client):
    reference, _ = await register(shared_client)
    name = reference.partition(":")[0]
    assert (await shared_client.get(f"/api/models/{name}/monitor")).json()["set_by"] is None
    order = {
        "interval_minutes": 30,
        "window_hours": 6,
        "drift_threshold": 0.2,
        "false_alarms": 0.01,
        "enabled": False,
    }
    assert (await shared_client.put(f"/api/models/{name}/monitor", json=order)).status_code == 200
    told = (await shared_client.get(f"/api/models/{name}/monitor")).json()
    assert {name: told[name] for name in order} == order
    changed = await shared_client.put(f"/api/models/{name}/monitor", json={"enabled": True})
    assert {name: changed.json()[name] for name in order} == order | {"enabled": True}


async def test_what_was_never_said_of_a_monitor_stays_at_the_settings(house):
    client, (reference, _) = house
    address = f"/api/models/{reference.partition(':')[0]}/monitor"
    usual = (await client.get(address)).json()
    told = (await client.put(address, json={"interval_minutes": 30})).json()
    assert told | {"set_by": None, "set_at": None} == usual | {"interval_minutes": 30}
    assert (await client.put(address, json={"interval_minutes": 3})).status_code == 422


async def watch_days(database, monkeypatch, settings, version, plan, days, *, rows=500):
    """Let a monitor look at buckets of rows; `days` gives the mean of each bucket's first column."""
    generator = np.random.default_rng(5)
    found = []
    for number, mean in enumerate(days):
        start = NOON + number * timedelta(minutes=5)
        values = generator.normal(size=(2, rows)) + np.array([[mean], [0.0]])
        place = Place(version.id, start, "production", "champion", shadow=False)
        async with database.writes(TESTER) as session:
            await add_to_profile(session, place, "spool", Counted(rows, plan.profile(Answered(list(values)))))
        monkeypatch.setattr(clock, "now", lambda at=start: at + timedelta(minutes=6))
        await watch_version(database, version.id, "production", settings)
        async with database.reads() as session:
            facts = await session.scalars(text("SELECT kind FROM fact WHERE kind LIKE 'Drift%' ORDER BY at"))
            found.append(list(facts))
    return found


async def test_a_monitor_tells_once_when_drift_begins_and_once_when_it_has_ended(database, monkeypatch):
    async with database.writes(TESTER) as session:
        version = await make.version(session)
    plan = await plan_of(database, version)
    means = [0.0] * 6 + [0.6] * 4 + [0.0] * 12
    found = await watch_days(database, monkeypatch, Settings(), version, plan, means)
    assert found[5] == []
    assert found[6] == found[9] == ["DriftDetected"]
    assert found[-1] == ["DriftDetected", "DriftEnded"]
    async with database.reads() as session:
        assert await drift_scores(session, NOON, NOON + timedelta(hours=3)) == {"m": 0.0}
        rows = (await session.execute(text("SELECT * FROM drift_verdict ORDER BY at"))).all()
        assert len(rows) == len(means)
        kept = next(row for row in rows if row.finding == "drift")
        reference = await find_reference(session, version.id)
        window = await read_window(
            session, reference, environment="production", since=kept.since, until=kept.until
        )
    stored = Profile.from_bytes(plan.layout, kept.counts, kept.sums, kept.extremes, kept.labels)
    assert np.array_equal(stored.counts, window.profile.counts)


async def test_a_monitor_that_is_off_does_not_look(database, monkeypatch):
    async with database.writes(TESTER) as session:
        version = await make.version(session)
        await jobs_off(session, version)
    plan = await plan_of(database, version)
    assert await watch_days(database, monkeypatch, Settings(), version, plan, [3.0, 3.0]) == [[], []]


async def jobs_off(session, version):
    await session.execute(
        text("INSERT INTO monitor VALUES (:id, false, 5, 24, 0.1, 0.05, 'tester', now())"),
        {"id": version.model_id},
    )
