"""M9, M12: a monitor that sees performance fall and recover, once each; alarms and advice that follow."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text

from app.core import clock
from app.core.config import Settings
from app.core.ids import new_id
from app.evidence.outcome_sums import refresh, start_of
from app.evidence.series import Series, bucket_losses
from app.monitoring.causes import fallen_features
from app.monitoring.kinds import SeriesKind
from app.monitoring.performance.jobs import ask_for_watches, watch_performance
from app.monitoring.performance.looking import fallen_since
from app.monitoring.performance.signals import accuracy_drops
from app.monitoring.regimes.following import Terms, make_monitor
from app.monitoring.regimes.jobs import watch_regime
from app.monitoring.retention import forget_quiet_performance
from tests import make
from tests.conftest import TESTER, client_of, running
from tests.evidence.making import log_requests, scored_request
from tests.faults.harness import eventually
from tests.monitoring.making import profiled
from tests.monitoring.test_performance import Deployed, cancer, register  # noqa: F401 - a fixture

FIVE = timedelta(minutes=5)
PER_BUCKET = 60


class Stream:
    """A version whose answers are right as often as a test says, bucket after bucket, and wrong where `x0` is large."""

    def __init__(self, database, directory, monkeypatch, version, start):
        self.database, self.directory, self.version = database, directory, version
        self.monkeypatch, self.start, self.number = monkeypatch, start, 0
        self.generator, self.burst, self.late = np.random.default_rng(7), 1, timedelta()

    async def live(self, *accuracies, watched=True):
        for accuracy in accuracies:
            at = self.start + self.number * FIVE
            self.monkeypatch.setattr(clock, "now", lambda at=at: at + FIVE + timedelta(seconds=40))
            await self._bucket(at, accuracy)
            if watched:
                await watch_performance(self.database, self.version.id, "production", Settings())
            self.number += 1

    async def _bucket(self, at, accuracy):
        ids = [id_at(at + timedelta(milliseconds=i)) for i in range(PER_BUCKET)]
        right = np.repeat(self.generator.random(PER_BUCKET // self.burst) < accuracy, self.burst)
        features = np.random.default_rng(self.number).normal(size=(PER_BUCKET, 2)) + np.outer(~right, [5, 0])
        made_of = {"version_id": self.version.id, "predictions": [1] * PER_BUCKET, "features": features}
        await log_requests(self.database, self.directory, scored_request(PER_BUCKET, ids=ids, **made_of))
        async with self.database.writes(TESTER) as session:
            await session.execute(
                text(
                    "INSERT INTO outcome (at, prediction_id, model, actual, observed_at, given_at, given_by)"
                    " SELECT at, id, model, CAST(:actual AS jsonb), now(), at + :late, 'tester' FROM prediction WHERE id = :id"
                ),
                [
                    {"id": each, "actual": json.dumps(int(good)), "late": self.late}
                    for each, good in zip(ids, right, strict=True)
                ],
            )
            await refresh(session, "m")

    async def facts(self):
        async with self.database.reads() as session:
            query = "SELECT kind FROM fact WHERE kind LIKE 'Performance%' ORDER BY at, id"
            return list(await session.scalars(text(query)))

    async def rows(self, query):
        async with self.database.reads() as session:
            return (await session.execute(text(query))).all()


def id_at(moment):
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (new_id().int & ((1 << 80) - 1)))


@pytest.fixture
async def stream(database, tmp_path, monkeypatch):
    async with database.writes(TESTER) as session:
        version = await make.version(session, metrics={"accuracy": 0.9})
    start = start_of(datetime.now(UTC) - timedelta(days=3), 60)
    return Stream(database, tmp_path, monkeypatch, version, start)


async def test_a_monitor_tells_once_that_performance_fell_and_once_that_it_recovered(stream):
    await stream.live(*[0.9] * 6)
    assert await stream.facts() == []
    await stream.live(*[0.55] * 4)
    assert await stream.facts() == ["PerformanceDropped"]
    await stream.live(*[0.97] * 12)
    assert await stream.facts() == ["PerformanceDropped", "PerformanceRecovered"]
    verdicts = await stream.rows("SELECT * FROM performance_verdict ORDER BY at")
    fallen = [row for row in verdicts if row.finding == "fallen"]
    assert len(verdicts) == 22
    assert all(row.sums["labelled"] for row in fallen)
    assert all(row.loss_low > row.threshold for row in fallen)
    [(accuracy,), (coverage,)] = await stream.rows("SELECT value FROM latest_figure ORDER BY figure")
    assert (accuracy, coverage) == (pytest.approx(verdicts[-1].value), 1.0)


async def test_old_looks_go_but_those_that_found_a_fall_and_those_that_people_asked_for(stream):
    await stream.live(*[0.9] * 6, *[0.55] * 4)
    async with stream.database.writes(TESTER) as session:
        query = "UPDATE performance_verdict SET asked_by = 'alice' WHERE id IN (SELECT min(id::text)::uuid FROM performance_verdict)"
        await session.execute(text(query))
    now = clock.now()
    for days, left in ((30, {"alice", "fallen", "quiet"}), (32, {"alice", "fallen"}), (401, set())):
        stream.monkeypatch.setattr(clock, "now", lambda days=days: now + timedelta(days=days))
        async with stream.database.writes(TESTER) as session:
            await forget_quiet_performance(session)
        rows = await stream.rows("SELECT asked_by, finding FROM performance_verdict")
        kinds = {
            "alice" if row.asked_by == "alice" else "fallen" if row.finding == "fallen" else "quiet"
            for row in rows
        }
        assert kinds == left


async def test_the_loss_of_each_five_minutes_is_a_series(stream):
    await stream.live(0.9, 0.9, 0.5)
    wrong = "SELECT date_bin('5 minutes', at, 'epoch') AS at, avg((actual <> '1')::int) AS loss FROM outcome GROUP BY 1 ORDER BY 1"
    expected = [(row.at, pytest.approx(float(row.loss))) for row in await stream.rows(wrong)]
    async with stream.database.reads() as session:
        where = {"environment": "production", "until": clock.now()}
        assert await bucket_losses(session, "m", after=stream.start - FIVE, **where) == expected
        assert await bucket_losses(session, "m", after=stream.start + FIVE, **where) == expected[2:]
        where["until"] = stream.start + 2 * FIVE
        assert await bucket_losses(session, "m", after=stream.start - FIVE, **where) == expected[:2]


async def test_a_series_of_losses_begins_however_late_labels_come(stream):
    stream.late = timedelta(days=20)
    terms = Terms("losses", SeriesKind.METRIC, "loss", "production", 1000.0)
    async with stream.database.writes(TESTER) as session:
        monitor = await make_monitor(session, stream.version.model_id, "m", terms)
    await stream.live(0.9, 0.5, watched=False)
    for days, values in ((1, 0), (19, 0), (26, 2)):  # a delay is known to a factor of two
        now = stream.start + timedelta(days=days)
        stream.monkeypatch.setattr(clock, "now", lambda now=now: now)
        async with stream.database.writes(TESTER) as session:
            await watch_regime(session, monitor.id, Series())
        assert await stream.rows("SELECT values FROM regime_monitor") == [(values,)]


async def test_a_small_loss_is_no_alarm_however_long_it_lasts(stream):
    await stream.live(*[0.85] * 16)
    assert await stream.facts() == []
    [watch] = await stream.rows("SELECT * FROM performance_watch")
    assert (watch.looked, watch.fallen_since) == (16, None)


async def test_bursts_of_errors_count_as_the_few_errors_that_they_are(stream):
    stream.burst = 12
    await stream.live(*[0.8] * 20)
    assert await stream.facts() == []
    [watch] = await stream.rows("SELECT * FROM performance_watch")
    assert watch.design_effect == pytest.approx(12, rel=0.4)
    assert watch.learnt_from == 16
    [(last,)] = await stream.rows("SELECT max(design_effect) FROM performance_verdict")
    assert last >= watch.design_effect


async def test_after_a_pause_the_monitor_looks_at_all_that_it_missed(stream):
    await stream.live(*[0.9] * 20, *[0.5] * 20, watched=False)
    await watch_performance(stream.database, stream.version.id, "production", Settings())
    assert await stream.facts() == ["PerformanceDropped"]
    [watch] = await stream.rows("SELECT * FROM performance_watch")
    assert watch.looked == 40


async def test_a_version_without_any_baseline_is_held_against_its_first_labels(
    database, tmp_path, monkeypatch
):
    async with database.writes(TESTER) as session:
        version = await make.version(session, metrics={})
    stream = Stream(database, tmp_path, monkeypatch, version, start_of(clock.now() - timedelta(days=3), 60))
    await stream.live(*[0.9] * 13)
    [baseline] = await stream.rows("SELECT * FROM performance_baseline")
    assert (baseline.kind, baseline.labelled) == ("first_labels", 12 * PER_BUCKET)
    await stream.live(*[0.5] * 4)
    assert await stream.facts() == ["PerformanceDropped"]


async def test_the_fact_and_the_incident_name_the_features_to_look_at_first(stream):
    await stream.live(*[0.95] * 6, *[0.5] * 3)
    [fact] = await stream.rows("SELECT body FROM fact WHERE kind = 'PerformanceDropped'")
    assert fact.body["features"] == ["x0"]
    async with stream.database.writes(TESTER) as session:
        await session.execute(
            text("UPDATE fact SET sequence = 7, hash = '' WHERE kind = 'PerformanceDropped'")
        )
        hour = clock.now() - timedelta(hours=1), clock.now()
        assert await fallen_features(session, "m", *hour) == ["x0"]
        assert await fallen_features(session, "other", *hour) == []


async def test_a_monitor_that_is_off_does_not_look(stream):
    async with stream.database.writes(TESTER) as session:
        await session.execute(
            text("INSERT INTO monitor VALUES (:id, false, 5, 24, 0.1, 0.05, 'tester', now())"),
            {"id": stream.version.model_id},
        )
    await stream.live(0.1, 0.1, 0.1)
    assert await stream.facts() == []


async def test_versions_whose_labels_came_lately_are_watched(stream):
    await stream.live(0.9, watched=False)
    for _ in range(2):
        async with stream.database.writes(TESTER) as session:
            await ask_for_watches(session)
    [job] = await stream.rows("SELECT payload FROM job WHERE kind = 'watch_performance'")
    assert job.payload == {"version_id": str(stream.version.id), "environment": "production"}


async def test_labels_that_came_all_at_once_are_looked_at_when_they_count_as_complete(stream):
    """Labels of a day come after it, and nobody sends any more: what they tell is mature a day later."""

    async def asked(later):
        stream.monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + later)
        async with stream.database.writes(TESTER) as session:
            await session.execute(text("DELETE FROM job"))
            await ask_for_watches(session)
        return [job.kind for job in await stream.rows("SELECT kind FROM job")]

    await stream.live(*[0.9] * 3)
    assert await asked(timedelta()) == ["watch_performance"]
    async with stream.database.writes(TESTER) as session:
        await session.execute(text("UPDATE live_outcome SET made_at = now()"))
    assert await asked(timedelta(hours=20)) == ["watch_performance"]
    stream.monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + timedelta(hours=20))
    await watch_performance(stream.database, stream.version.id, "production", Settings())
    assert await asked(timedelta(hours=20)) == []


async def test_the_signal_is_the_part_of_a_drop_that_is_proven(stream):
    async def signal():
        now = clock.now()
        async with stream.database.reads() as reading:
            return await accuracy_drops(reading, now - timedelta(hours=1), now)

    await stream.live(*[0.9] * 12, watched=False)
    assert await signal() == {"m": 0.0}
    await stream.live(*[0.6] * 13, watched=False)
    assert 0.15 < (await signal())["m"] < 0.3


async def test_labels_that_show_a_drop_open_an_incident_and_change_the_advice(settings, cancer):  # noqa: F811
    model, rows, truth = cancer
    async with running(settings) as service, client_of(service) as client:
        name = await register(client, model, rows[:200], metrics={"accuracy": 0.95})
        deployed = Deployed(client, name, rows[200:], truth[200:].tolist())
        await deployed.ask_all()
        await deployed.label(deployed.ids, [1 - answer for answer in deployed.answers])
        assert (await deployed.check_when(len(deployed.ids)))["finding"] == "fallen"
        async with service.state.database.writes(TESTER) as session:
            await session.execute(
                text("UPDATE alert_rule SET looked_at = NULL WHERE signal = 'accuracy_drop'")
            )

        async def is_open():
            incidents = (await client.get("/api/system/incidents")).json()["items"]
            return [each for each in incidents if each["rule"] == "accuracy-drop"]

        await eventually(is_open, within=60)
        [incident] = await is_open()
        assert (incident["severity"], incident["subject"]) == ("critical", f"model:{name}")


async def test_the_advice_of_a_drift_check_heeds_a_fall_of_performance(stream):
    await stream.live(*[0.9] * 2, *[0.3] * 3)
    assert await stream.facts() == ["PerformanceDropped"]
    async with stream.database.reads() as reading:
        assert await fallen_since(reading, stream.version.id, "production") is not None
        assert await fallen_since(reading, stream.version.id, "elsewhere") is None


async def test_a_drift_check_without_drift_asks_to_retrain_what_has_fallen(settings, cancer):  # noqa: F811
    model, rows, _ = cancer
    async with running(settings) as service, client_of(service) as client:
        name = await register(client, model, rows[:200])
        await profiled(client, name)
        async with service.state.database.writes(TESTER) as session:
            await session.execute(
                text(
                    "INSERT INTO performance_watch (version_id, environment, began_at, looked_at, fallen_since)"
                    " SELECT id, 'production', now(), now(), now() FROM version"
                )
            )
        told = (
            await client.post(f"/api/models/{name}/drift-check", json={"instances": rows[:150].tolist()})
        ).json()
        assert (told["drift_detected"], told["recommendation"]) == (False, "RETRAIN_IMMEDIATELY")
        assert "performance is proven to have fallen" in told["recommendations"][-1]
