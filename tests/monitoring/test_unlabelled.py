"""M7, M3: a monitor that estimates how a version does while its labels are missing, and says so."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text

from app.core import clock
from app.core.config import Settings
from app.core.database import Database
from app.evidence.outcome_sums import refresh, start_of
from app.evidence.outcome_windows import Cohort
from app.monitoring.performance.jobs import watch_performance
from app.monitoring.performance.looking import fallen_since
from app.monitoring.performance.unlabelled import ask_for_estimates, watch_unlabelled
from app.monitoring.queries import estimated_history
from app.monitoring.signals import estimated_losses
from tests import make
from tests.conftest import TESTER
from tests.evidence.making import log_requests, scored_request
from tests.monitoring.test_performance_watch import FIVE, id_at

PER_BUCKET = 600


class Stream:
    """A calibrated classifier, as sure between two bounds as a test wants it to be."""

    def __init__(self, database: Database, directory, monkeypatch, version):
        self.database, self.directory, self.monkeypatch, self.version = (
            database,
            directory,
            monkeypatch,
            version,
        )
        self.start = start_of(datetime.now(UTC) - timedelta(days=3), 60)
        self.number, self.generator = 0, np.random.default_rng(7)

    async def live(self, buckets, least, most, *, labelled=False):
        for _ in range(buckets):
            at = self.start + self.number * FIVE
            self.monkeypatch.setattr(clock, "now", lambda at=at: at + FIVE + timedelta(seconds=40))
            await self._bucket(at, least, most, labelled=labelled)
            await watch_performance(self.database, self.version.id, "production", Settings())
            await watch_unlabelled(self.database, Cohort(self.version.id, "production"), Settings())
            self.number += 1

    async def _bucket(self, at, least, most, *, labelled):
        ids = [id_at(at + timedelta(milliseconds=i)) for i in range(PER_BUCKET)]
        odds = self.generator.uniform(least, most, PER_BUCKET)
        made_of = {"predictions": [1] * PER_BUCKET, "probabilities": np.column_stack([1 - odds, odds])}
        await log_requests(
            self.database,
            self.directory,
            scored_request(PER_BUCKET, ids=ids, version_id=self.version.id, **made_of),
        )
        right = self.generator.random(PER_BUCKET) < odds
        async with self.database.writes(TESTER) as session:
            if labelled:
                await self._label(session, ids, right)
            while await refresh(session, "m"):
                pass

    async def _label(self, session, ids, right):
        insertion = (
            "INSERT INTO outcome (at, prediction_id, model, actual, observed_at, given_at, given_by)"
            " SELECT at, id, model, CAST(:actual AS jsonb), now(), at, 'tester' FROM prediction WHERE id = :id"
        )
        given = [{"id": each, "actual": json.dumps(int(good))} for each, good in zip(ids, right, strict=True)]
        await session.execute(text(insertion), given)

    async def rows(self, query):
        async with self.database.reads() as session:
            return (await session.execute(text(query))).all()

    async def facts(self):
        query = "SELECT kind, body FROM fact WHERE kind LIKE '%Performance%' ORDER BY at, id"
        return [(row.kind, row.body.get("estimated", False)) for row in await self.rows(query)]


@pytest.fixture
async def stream(database, tmp_path, monkeypatch):
    async with database.writes(TESTER) as session:
        version = await make.version(session, metrics={"accuracy": 0.75})
    return Stream(database, tmp_path, monkeypatch, version)


async def test_a_fall_without_labels_is_estimated_announced_and_heeded_until_labels_say_otherwise(stream):
    await stream.live(8, 0.5, 1, labelled=True)
    await stream.live(3, 0.5, 1)
    assert await stream.facts() == []
    verdicts = await stream.rows("SELECT * FROM performance_verdict WHERE estimated ORDER BY at")
    assert len(verdicts) == 3
    assert all(row.value == pytest.approx(0.75, abs=0.04) for row in verdicts)
    async with stream.database.reads() as session:
        where = {"environment": "production", "since": stream.start, "granularity": "hour"}
        told = await estimated_history(session, stream.version.model_id, **where)
    assert [(each.metric, each.rows, each.value) for each in told.values()] == [
        ("accuracy", 3 * PER_BUCKET, pytest.approx(0.75, abs=0.06))
    ]
    await stream.live(3, 0.5, 0.52)
    assert await stream.facts() == [("EstimatedPerformanceDropped", True)]
    [(told,)] = await stream.rows("SELECT value FROM latest_figure WHERE figure = 'estimated_accuracy'")
    assert told == pytest.approx(0.51, abs=0.05)
    async with stream.database.reads() as session:
        fallen = await fallen_since(session, stream.version.id, "production")
        assert (fallen.is_estimated, "estimated" in str(fallen)) == (True, True)
        hour = (clock.now() - timedelta(hours=1), clock.now())
        assert (await estimated_losses(session, *hour))["m"] > 0.15
    await stream.live(3, 0.8, 1)
    assert (await stream.facts())[1:] == [("EstimatedPerformanceRecovered", True)]
    async with stream.database.reads() as session:
        hour = (clock.now() - timedelta(hours=1), clock.now())
        assert await estimated_losses(session, *hour) == {"m": 0.0}


async def test_an_estimate_that_can_not_tell_takes_no_fall_back(stream):
    await stream.live(8, 0.5, 1, labelled=True)
    await stream.live(3, 0.5, 0.52)
    async with stream.database.reads() as session:
        proven = await estimated_losses(session, stream.start, clock.now())
    await stream.live(1, 0.55, 0.65)
    looks = await stream.rows("SELECT finding, loss_low FROM performance_verdict WHERE estimated ORDER BY at")
    assert (looks[-1].finding, looks[-1].loss_low < proven["m"]) == ("undecided", True)
    async with stream.database.reads() as session:
        assert await estimated_losses(session, stream.start, clock.now()) == proven


async def test_labels_that_prove_that_all_is_well_overrule_an_estimate(stream):
    await stream.live(8, 0.5, 1, labelled=True)
    await stream.live(3, 0.5, 0.52)
    [(fallen,)] = await stream.rows("SELECT fallen_since FROM estimate_watch")
    assert fallen is not None
    await stream.live(4, 0.9, 1, labelled=True)
    assert await stream.rows("SELECT fallen_since FROM estimate_watch") == [(None,)]


async def test_labels_from_before_a_fall_say_nothing_against_it(stream):
    """The longer windows of the monitor of what came true hold labels from before, and prove that all was well then."""
    await stream.live(8, 0.5, 1, labelled=True)
    await stream.live(10, 0.5, 0.52)
    [(fallen,)] = await stream.rows("SELECT fallen_since FROM estimate_watch")
    assert fallen is not None
    assert await stream.facts() == [("EstimatedPerformanceDropped", True)]


async def test_nothing_is_estimated_where_most_labels_are_there_or_none_ever_were(stream):
    await stream.live(3, 0.5, 1)
    await stream.live(3, 0.5, 1, labelled=True)
    assert await stream.rows("SELECT * FROM performance_verdict WHERE estimated") == []


async def test_whoever_answered_lately_is_looked_at(stream):
    await stream.live(1, 0.5, 1)
    count = (
        "INSERT INTO live_profile (version_id, bucket, environment, arm, shadow, spool, rows, counts, sums, extremes)"
        " VALUES (:id, :at, 'production', '', false, 's', 1, '', '', '')"
    )
    async with stream.database.writes(TESTER) as session:
        await session.execute(text(count), {"id": stream.version.id, "at": clock.now()})
        await ask_for_estimates(session)
        await ask_for_estimates(session)
    [job] = await stream.rows("SELECT payload FROM job WHERE kind = 'watch_unlabelled'")
    assert job.payload == {"version_id": str(stream.version.id), "environment": "production"}
