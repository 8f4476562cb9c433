"""M12: incidents open once, last, are silenced, and resolve by themselves: from values on the clock and from facts."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.alerts import actions
from app.alerts.deliveries import QUEUE, TELL
from app.alerts.jobs import queue_looks
from app.alerts.kinds import ChannelKind
from app.alerts.queries import lock_rule
from app.alerts.rules import DEFAULTS
from app.alerts.signals import read_error_rates, read_latencies
from app.core import clock
from app.core.facts import announce
from app.core.jobs import enqueue
from app.deployments.facts import DeploymentFailed, VersionPromoted
from tests import make
from tests.conftest import TESTER
from tests.evidence.making import log_requests, scored_request

SLOW, WELL = {"m": 1500.0}, {"m": 3.0}


async def incidents(worker):
    return await worker.rows("SELECT * FROM incident ORDER BY id")


async def facts(worker, *kinds):
    rows = await worker.rows("SELECT kind FROM fact WHERE kind LIKE 'Incident%' ORDER BY id")
    return [row["kind"] for row in rows]


async def test_one_incident_opens_is_updated_and_resolves_by_itself(worker, signals):
    for value in (1500.0, 1800.0, 1200.0):
        signals["latency_ms"] = {"m": value}
        await worker.look()
    [incident] = await incidents(worker)
    assert (incident["value"], incident["worst"], incident["looks"]) == (1200.0, 1800.0, 3)
    assert (incident["severity"], incident["resolved_at"]) == ("warning", None)
    signals["latency_ms"] = WELL
    await worker.look()
    [incident] = await incidents(worker)
    assert incident["resolved_at"] is not None
    assert incident["resolved_by"] is None
    assert await facts(worker) == ["IncidentOpened", "IncidentResolved"]


async def test_each_model_has_an_incident_of_its_own(worker, signals):
    signals["latency_ms"] = {"a": 1500.0, "b": 1600.0, "c": 3.0}
    await worker.look()
    await worker.look()
    assert [row["fingerprint"] for row in await incidents(worker)] == [
        "latency/model:a",
        "latency/model:b",
    ]


async def test_a_second_open_incident_of_a_fingerprint_is_refused_by_the_database(worker, signals):
    signals["latency_ms"] = SLOW
    await worker.look()
    columns = (
        "fingerprint, rule, signal, severity, subject, model, comparison, threshold, value, worst, evidence"
    )
    with pytest.raises(IntegrityError, match="uq_incident_open"):
        await worker.execute(
            f"INSERT INTO incident (id, {columns}, looks, opened_at, updated_at) "
            f"SELECT gen_random_uuid(), {columns}, looks, opened_at, updated_at FROM incident"
        )


async def test_many_looks_at_once_open_one_incident(worker, signals, database):
    from app.alerts.judging import Observation, lock_standing, take_observation

    async def see(value):
        async with database.writes(TESTER) as session:
            rule = await lock_rule(session, "latency", shared=True)
            row = await lock_standing(session, "latency", "model:m")
            await take_observation(session, rule, row, Observation("model:m", "m", value, clock.now()))

    await asyncio.gather(*(see(1500.0 + i) for i in range(8)))
    [incident] = await incidents(worker)
    assert (incident["looks"], incident["worst"]) == (8, 1507.0)


async def test_a_silence_holds_the_message_back_but_not_the_incident(
    worker, signals, database, add_channel, receiver
):
    await add_channel("hook", url=receiver.url)
    async with database.writes(TESTER) as session:
        until = clock.now() + timedelta(hours=1)
        silence = await actions.make_silence(
            session, rule="latency", model="m", until=until, reason="load test"
        )
    signals["latency_ms"] = SLOW | {"other": 1500.0}
    await worker.look()
    assert len(await incidents(worker)) == 2
    assert len(receiver.received) == 1
    await worker.execute("UPDATE silence SET until = now() WHERE id = :id", id=silence.id)
    for _ in range(2):
        await queue_looks(database)  # no rule is due a look
        await worker.work_off()
    assert len(receiver.received) == 2
    assert [row["looks"] for row in await incidents(worker)] == [1, 1]
    assert all(row["told_at"] for row in await incidents(worker))


async def test_an_incident_is_told_when_the_last_silence_over_it_ends(
    worker, signals, database, add_channel, receiver, room
):
    await add_channel("hook", url=receiver.url)
    made = [
        (await room.post("/api/system/silences", json={**named, "until": "2099-01-01T00:00:00Z"})).json()
        for named in ({"rule": "latency"}, {"model": "m"})
    ]
    signals["latency_ms"] = SLOW
    await worker.look()
    told = []
    for silence in made:
        await room.delete(f"/api/system/silences/{silence['id']}")
        await worker.work_off()
        told.append(len(receiver.received))
    assert told == [0, 1]


async def test_workers_that_tell_what_was_silenced_at_once_tell_it_once(
    worker, signals, database, add_channel, receiver
):
    await add_channel("hook", url=receiver.url)
    async with database.writes(TESTER) as session:
        until = clock.now() + timedelta(hours=1)
        await actions.make_silence(session, rule="latency", model=None, until=until, reason="")
    signals["latency_ms"] = SLOW | {"other": 1500.0}
    await worker.look()
    await worker.execute("UPDATE silence SET until = now()")
    async with database.writes(TESTER) as session:
        for _ in range(4):
            await enqueue(session, TELL, {}, queue=QUEUE)
    await asyncio.gather(*(worker.work_off() for _ in range(4)))
    assert len(receiver.received) == 2


async def test_the_end_of_what_nobody_was_told_of_is_not_told(
    worker, signals, database, add_channel, receiver
):
    await add_channel("hook", url=receiver.url)
    async with database.writes(TESTER) as session:
        until = clock.now() + timedelta(hours=1)
        await actions.make_silence(session, rule=None, model="m", until=until, reason="")
    signals["latency_ms"] = SLOW
    await worker.look()
    signals["latency_ms"] = WELL
    await worker.look()
    assert receiver.received == []
    assert (await incidents(worker))[0]["resolved_at"]


async def test_only_the_channels_that_a_rule_names_are_told(worker, signals, add_channel, receiver, mailbox):
    await add_channel("hook", url=receiver.url)
    await add_channel("mail", ChannelKind.EMAIL, to=["a@example.org"])
    await worker.execute("UPDATE alert_rule SET channels = '{mail}' WHERE name = 'latency'")
    signals["latency_ms"] = SLOW
    await worker.look()
    assert (len(receiver.received), len(mailbox.mails)) == (0, 1)


async def test_a_model_without_a_value_changes_nothing(worker, signals):
    signals["latency_ms"] = SLOW
    await worker.look()
    signals["latency_ms"] = {}
    await worker.look()
    [incident] = await incidents(worker)
    assert (incident["looks"], incident["resolved_at"]) == (1, None)


async def test_a_value_that_is_no_number_does_not_keep_the_others_from_being_judged(worker, signals):
    signals["latency_ms"] = {"a": float("nan"), "b": float("inf"), "m": 1500.0}
    await worker.look()
    assert [row["model"] for row in await incidents(worker)] == ["m"]


async def test_a_rule_that_is_disabled_ends_its_incidents_and_looks_no_more(worker, signals, database):
    signals["latency_ms"] = SLOW
    await worker.look()
    async with database.writes(TESTER) as session:
        await actions.change_rule(session, "latency", replace(DEFAULTS["latency"], enabled=False))
    await worker.look()
    [incident] = await incidents(worker)
    assert incident["resolve_note"] == "the rule was disabled"


async def test_a_rule_is_looked_at_when_its_time_has_come_and_not_before(worker, database):
    await queue_looks(database)
    queued = await worker.rows("SELECT payload->>'rule' AS rule FROM job WHERE kind = 'look at signal'")
    assert {row["rule"] for row in queued} == set(DEFAULTS)
    await worker.work_off()
    await queue_looks(database)
    [left] = await worker.rows("SELECT count(*) AS count FROM job WHERE state = 'queued'")
    assert left["count"] == 0


async def happen(worker, *things):
    async with worker.database.writes(TESTER) as session:
        for thing in things:
            announce(session, thing)
    await worker.seal()


def failed(model="m", version=2):
    return DeploymentFailed(model, version, "production", "d-1", problem="out of memory")


def promoted(model="m", version=3):
    return VersionPromoted(model, version, "production", "d-2", revision=7, replaced=1, reason="")


async def test_a_failed_deployment_opens_an_incident_and_the_next_that_succeeds_resolves_it(worker):
    await happen(worker, failed())
    await worker.work_off()
    [incident] = await incidents(worker)
    assert (incident["rule"], incident["subject"]) == ("deployment-failure", "model:m")
    assert incident["evidence"]["problem"] == "out of memory"
    await happen(worker, promoted("other"))
    await worker.work_off()
    assert (await incidents(worker))[0]["resolved_at"] is None
    await happen(worker, promoted())
    await worker.work_off()  # without a look
    assert (await incidents(worker))[0]["resolved_at"]
    assert [row["subject"] for row in await worker.rows("SELECT subject FROM alert_standing")] == ["model:m"]


async def test_a_success_that_is_judged_before_the_failure_that_it_followed_resolves_it_all_the_same(worker):
    await happen(worker, failed(), promoted())
    due = "UPDATE job SET due_at = due_at - interval '1 minute' FROM fact WHERE fact.id::text = payload->>'fact_id' "
    await worker.execute(due + "AND fact.kind = 'VersionPromoted'")
    await worker.work_off()
    [incident] = await incidents(worker)
    assert incident["resolved_at"]


async def test_a_success_waits_for_a_failure_that_is_being_judged(worker, database):
    from app.alerts.judging import catch_up_with_facts, lock_standing
    from app.alerts.rules import TOLD_BY_FACTS

    await happen(worker, failed())
    await worker.execute("DELETE FROM job")  # it is done here, by hand, and slowly
    async with database.writes(TESTER) as session:
        rule = await lock_rule(session, "deployment-failure", shared=True)
        row = await lock_standing(session, rule.name, "model:m")
        await catch_up_with_facts(session, rule, row, TOLD_BY_FACTS[rule.signal], 1)
        await happen(worker, promoted())
        working = asyncio.create_task(worker.work_off())
        while not await worker.rows("SELECT 1 FROM pg_locks WHERE NOT granted"):
            assert not working.done()
    await working
    [incident] = await incidents(worker)
    assert incident["resolved_at"]


async def test_a_fact_is_judged_once_however_often_its_job_runs(worker):
    await happen(worker, failed())
    await worker.execute(
        "INSERT INTO job (id, kind, queue, payload, state, attempts, max_attempts, fence, due_at, made_at) "
        "SELECT gen_random_uuid(), kind, queue, payload, state, 0, 8, 0, due_at, made_at FROM job "
        "WHERE kind = 'judge fact'"
    )
    await worker.work_off()
    [incident] = await incidents(worker)
    assert incident["looks"] == 1


@pytest.mark.parametrize(
    ("between", "opens"), [((), True), ((promoted(),), False), ((promoted("other"),), True)]
)
async def test_failures_count_in_a_row_only_without_a_success_between_them(worker, between, opens):
    await worker.execute("UPDATE alert_rule SET consecutive = 2 WHERE name = 'deployment-failure'")
    await happen(worker, failed())
    await worker.work_off()
    assert await incidents(worker) == []
    await happen(worker, *between, failed())
    await worker.work_off()
    assert bool(await incidents(worker)) == opens


async def test_failures_further_apart_than_the_window_are_not_in_a_row(worker, monkeypatch):
    await worker.execute("UPDATE alert_rule SET consecutive = 2 WHERE name = 'deployment-failure'")
    await happen(worker, failed())
    real, days = clock.now, timedelta(days=8)
    monkeypatch.setattr(clock, "now", lambda: real() + days)
    await happen(worker, failed())
    await worker.work_off()
    [standing] = await worker.rows("SELECT * FROM alert_standing")
    assert standing["breaches"] == 1


async def test_a_deleted_rule_ends_its_incidents_and_tells_so(
    worker, signals, database, add_channel, receiver
):
    await add_channel("hook", url=receiver.url)
    signals["latency_ms"] = SLOW
    await worker.look()
    async with database.writes(TESTER) as session:
        await actions.delete_rule(session, "latency")
    await worker.work_off()
    [incident] = await incidents(worker)
    assert (incident["resolved_by"], incident["resolve_note"]) == ("tester", "the rule was deleted")
    assert len(receiver.received) == 2
    assert await worker.rows("SELECT * FROM alert_standing") == []


async def test_the_log_tells_error_rates_and_latencies(database, tmp_path):
    async with database.writes(TESTER) as session:
        for name in ("slow", "quick", "never asked"):
            await make.version(session, name)
    await log_requests(
        database,
        tmp_path,
        *[scored_request(model="slow", latency_ms=1500.0) for _ in range(10)],
        *[scored_request(model="quick", latency_ms=1.0) for _ in range(24)],
        *[scored_request(model="quick", latency_ms=1.0, failures={0: "overflow"}) for _ in range(6)],
        *[scored_request(model="quick", latency_ms=9000.0, shadow=True) for _ in range(30)],
    )
    now = clock.now()
    async with database.reads() as session:
        latencies = await read_latencies(session, now - timedelta(minutes=5), now + timedelta(minutes=1))
        errors = await read_error_rates(session, now - timedelta(minutes=5), now + timedelta(minutes=1))
        assert await session.scalar(text("SELECT count(*) FROM prediction")) == 70
    assert latencies == {"slow": 1500.0, "quick": 1.0}
    assert errors == {"quick": 0.2}
