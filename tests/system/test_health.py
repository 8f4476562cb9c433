"""Probes and the health report (S1, D10, D12): what is degraded, why, and when traffic should go elsewhere."""

import os
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.alerts.sealing import Vault
from app.artifacts.encryption import KEY_BYTES, Keyring
from app.core import clock
from app.core.access import Role
from app.core.database import Database
from app.core.facts import announce
from app.core.health import Condition, Part
from app.core.jobs import enqueue
from app.core.locks import leadership
from app.runtimes.cache import Phase, VersionState
from app.system.parts import judge_models, watch_parts
from app.system.queries import LEADERSHIP, count_jobs
from app.traffic.actions import append_revision
from app.traffic.rules import Arm
from tests import make
from tests.conftest import TESTER, client_of, draining, with_database
from tests.core.test_facts import ThingHappened
from tests.faults.harness import eventually

PARTS = {"database", "models", "routes", "storage", "log", "jobs", "worker", "replicas", "channels"}


async def report_of(client):
    """The report, once the database was looked at in time: on a busy machine a first look may take too long."""
    reports = []

    async def is_known():
        reports.append((await client.get("/api/system/health")).json())
        return "unknown" not in reports[-1]["parts"]["jobs"]["reason"]

    await eventually(is_known, within=30)
    return reports[-1]


async def test_a_living_process_says_so(client):
    answer = await client.get("/livez")
    assert (answer.status_code, answer.text) == (200, "ok")


async def test_a_process_without_routes_is_ready(client):
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)


async def test_a_process_that_shuts_down_wants_no_traffic(service):
    async with client_of(draining(service)) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["this process is shutting down"]


@pytest.fixture
async def broken_route(service):
    """A route to a version whose files are not there."""
    async with service.state.database.writes(TESTER) as session:
        version = await make.version(session, "churn")
        arms = [Arm("champion", version.id, 1.0)]
        await append_revision(
            session, version.model_id, "production", arms, [], kind="set", reason="", expected=None
        )
    await service.state.routes.wait_for("churn", "production", 1)


async def test_readiness_names_the_version_that_is_missing_and_why(client, broken_route):
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    (reason,) = answer.json()["reasons"]
    assert reason.startswith("models: churn:1 is ")


async def test_a_model_that_a_key_does_not_cover_is_not_in_its_report(client, service, broken_route, key_of):
    await service.state.presence._keep_up()
    wide, narrow = await key_of(Role.VIEWER), await key_of(Role.VIEWER, ("fraud-*",))
    versions = [
        (await client.get("/api/system/health", headers=key)).json()["parts"]["models"]["figures"]["versions"]
        for key in (wide, narrow)
    ]
    assert [list(each) for each in versions] == [["churn:1"], []]


CANDIDATE, CHAMPION = uuid4(), uuid4()
NAMES = {CANDIDATE: "churn:2", CHAMPION: "churn:1"}


def state(phase, reason="", *, is_pinned=True):
    return VersionState(phase, reason, 0, is_pinned)


@pytest.mark.parametrize(
    ("states", "condition", "reason"),
    [
        ({CHAMPION: state(Phase.READY)}, Condition.OK, ""),
        ({CHAMPION: state(Phase.WARMING)}, Condition.DOWN, "churn:1 is warming"),
        ({CHAMPION: state(Phase.FAILED, "no such file")}, Condition.DOWN, "churn:1 is failed (no such file)"),
        ({}, Condition.DOWN, "churn:1 is not asked for yet"),
        (
            {CHAMPION: state(Phase.READY), CANDIDATE: state(Phase.FAILED, "broken")},
            Condition.DEGRADED,
            "churn:2 is failed (broken)",
        ),
        ({CHAMPION: state(Phase.READY), CANDIDATE: state(Phase.FAILED, is_pinned=False)}, Condition.OK, ""),
    ],
)
def test_only_versions_that_callers_get_answers_from_hold_traffic_back(states, condition, reason):
    part = judge_models(states, {CHAMPION}, NAMES)
    assert (part.condition, part.reason) == (condition, reason)
    assert part.blocks_traffic is (condition == Condition.DOWN)


async def test_the_report_has_every_part(client):
    report = await report_of(client)
    assert set(report["parts"]) == PARTS
    assert report["parts"]["database"]["figures"]["latency_ms"] > 0
    assert report["parts"]["replicas"]["condition"] == "ok"
    assert report["parts"]["storage"]["condition"] == "ok"


async def test_without_a_worker_the_report_says_that_nobody_leads(client):
    report = await report_of(client)
    assert report["condition"] == "degraded"
    assert any(problem.startswith("worker: no worker leads") for problem in report["problems"])


async def test_a_worker_that_leads_is_seen_by_its_lock(client, service):
    async with leadership(service.state.database.engine, LEADERSHIP):
        worker = (await report_of(client))["parts"]["worker"]
    assert worker["condition"] == "ok"
    assert datetime.fromisoformat(worker["figures"]["leader"]["since"]) <= datetime.now(UTC)


async def test_facts_that_nobody_seals_show_that_no_worker_runs(client, service, monkeypatch):
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now - timedelta(seconds=30))
    async with service.state.database.writes(TESTER) as session:
        announce(session, ThingHappened(1))
    monkeypatch.undo()
    assert "to be sealed" in (await report_of(client))["parts"]["worker"]["reason"]


async def test_jobs_are_counted_by_how_they_fare(database):
    async with database.writes(TESTER) as session:
        await enqueue(session, "now", {})
        await enqueue(session, "late", {}, delay_seconds=-90)
        await enqueue(session, "lost", {})
        await session.execute(text("UPDATE job SET state = 'failed', ended_at = now() WHERE kind = 'lost'"))
        counts = await count_jobs(session)
    assert (counts.queued, counts.overdue, counts.running, counts.failed) == (2, 1, 0, 1)


async def test_a_late_job_degrades_the_service(client, service):
    async with service.state.database.writes(TESTER) as session:
        await enqueue(session, "late", {}, delay_seconds=-90)
    jobs = (await report_of(client))["parts"]["jobs"]
    assert (jobs["condition"], jobs["reason"]) == ("degraded", "1 jobs are a minute late: too few workers")


async def test_channels_that_another_replica_sealed_under_its_own_key_degrade_the_service(client, service):
    """A replica with a key of its own can't send by them, and nobody would be alarmed of that."""
    order = {"name": "pager", "kind": "webhook", "url": "https://pager.example/in"}
    assert (await client.post("/api/system/channels", json=order)).status_code == 201
    assert (await report_of(client))["parts"]["channels"]["figures"] == {"count": 1, "unreadable": []}
    other = Vault(Keyring([os.urandom(KEY_BYTES)]))
    async with service.state.database.writes(TESTER) as session:
        sealed = {"sealed": other.seal({"url": "https://pager.example/in"})}
        await session.execute(text("UPDATE alert_channel SET sealed = :sealed"), sealed)

    told = {}

    async def is_seen():
        told.update((await report_of(client))["parts"]["channels"])
        return told["condition"] == "degraded"

    await eventually(is_seen)
    assert told["reason"].startswith("pager can't be opened with this replica's key")
    assert "SWITCHYARD_CHANNEL_KEY_FILE" in told["reason"]


async def test_a_database_that_is_away_degrades_but_does_not_stop_traffic(client, service, postgres_url):
    whole, service.state.database = service.state.database, Database(with_database(postgres_url, "none"))
    watch_parts(service.state)
    parts = (await client.get("/health")).json()["parts"]
    assert parts["database"]["condition"] == "down"
    assert parts["jobs"] == {"condition": "degraded", "reason": "unknown while the database is away"}
    assert (await client.get("/readyz")).status_code == 200
    service.state.database = whole


async def test_a_part_that_blocks_makes_the_whole_down(client, service):
    async def broken():
        return Part(Condition.DEGRADED, "no room", blocks_traffic=True)

    service.state.health.add("spool", broken)
    assert (await client.get("/health")).json()["condition"] == "down"
    assert (await client.get("/readyz")).json()["reasons"] == ["spool: no room"]


async def test_probes_need_no_key_and_the_report_does(client, key_of):
    await key_of(Role.ADMIN)
    open_ones = [await client.get(path) for path in ("/livez", "/readyz", "/health", "/version", "/metrics")]
    assert {answer.status_code for answer in open_ones} == {200}
    assert (await client.get("/api/system/health")).status_code == 401


async def test_the_version_is_told(client):
    assert (await client.get("/version")).json() == {"name": "switchyard", "version": "0.1.0"}


async def test_metrics_are_in_the_format_of_prometheus(client):
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "http_requests_total" in answer.text
