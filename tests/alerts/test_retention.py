"""M12: incidents and deliveries that ended long ago go; what is open stays, however old."""

from datetime import timedelta

from sqlalchemy import text

from app.alerts.retention import forget_old_incidents
from app.core import clock
from app.core.ids import new_id
from app.core.jobs import WORKER, Job, JobState, drop_old_jobs
from tests.conftest import TESTER

INCIDENT = text("""
    INSERT INTO incident (id, fingerprint, rule, signal, severity, subject, comparison, threshold, value, worst, evidence,
        opened_at, updated_at, resolved_at)
    VALUES (:id, :fingerprint, 'r', 'drift', 'info', 's', 'above', 0, 1, 1, '{}', :at, :at, :resolved)
""")
DELIVERY = text("""
    INSERT INTO alert_delivery (id, incident_id, channel, event, body, state, made_at, settled_at)
    VALUES (:id, :incident, 'c', 'opened', '{}', :state, :at, :settled)
""")


async def test_what_ended_long_ago_is_forgotten_and_what_is_open_is_not(database):
    now = clock.now()
    old, recent, open_one = new_id(), new_id(), new_id()
    async with database.writes(TESTER) as session:
        for identifier, resolved in ((old, 401), (recent, 399), (open_one, None)):
            ended = None if resolved is None else now - timedelta(days=resolved)
            told = {
                "id": identifier,
                "fingerprint": str(identifier),
                "at": now - timedelta(days=500),
                "resolved": ended,
            }
            await session.execute(INCIDENT, told)
        for incident, state, days in (
            (old, "delivered", 89), (recent, "delivered", 89), (recent, "given_up", 91), (open_one, "queued", None),
        ):  # fmt: skip
            settled = None if days is None else now - timedelta(days=days)
            told = {"id": new_id(), "incident": incident, "state": state, "at": now, "settled": settled}
            await session.execute(DELIVERY, told)
    async with database.writes(WORKER) as session:
        await forget_old_incidents(session)
        await forget_old_incidents(session)
    async with database.reads() as session:
        incidents = set(await session.scalars(text("SELECT id FROM incident")))
        deliveries = (await session.execute(text("SELECT incident_id, state FROM alert_delivery"))).all()
    assert incidents == {recent, open_one}
    assert {tuple(row) for row in deliveries} == {(recent, "delivered"), (open_one, "queued")}


async def test_jobs_are_kept_for_a_while_after_their_end_and_open_ones_for_ever(database):
    now = clock.now()
    jobs = {
        "done long ago": (JobState.DONE, 8), "done": (JobState.DONE, 6), "failed": (JobState.FAILED, 89),
        "failed long ago": (JobState.FAILED, 91), "open": (JobState.QUEUED, None),
    }  # fmt: skip
    async with database.writes(TESTER) as session:
        for kind, (state, days) in jobs.items():
            ended = None if days is None else now - timedelta(days=days)
            session.add(Job(kind=kind, payload={}, state=state, due_at=now, made_at=now, ended_at=ended))
    async with database.writes(WORKER) as session:
        await drop_old_jobs(session)
    async with database.reads() as session:
        assert set(await session.scalars(text("SELECT kind FROM job"))) == {"done", "failed", "open"}
