"""M10: series of the log, of metrics and of callers are followed, each value once, and changes are told."""

import asyncio
import csv
import gzip
import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from app.alerts import jobs as alerts
from app.alerts.rules import Signal
from app.core import clock
from app.core.access import Role
from app.core.config import Settings
from app.core.ids import new_id
from app.core.jobs import WORKER, claim_job, run_claim
from app.evidence.profiles import Counted, Place, add_to_profile
from app.evidence.series import Series
from app.monitoring.kinds import SeriesKind
from app.monitoring.regimes.following import Terms, get_monitor, make_monitor, take_values
from app.monitoring.regimes.jobs import watch_regime
from app.monitoring.signals import changes_in_words, regime_changes, say_change
from app.runtimes.profiles import Answered
from tests import make
from tests.conftest import TESTER
from tests.monitoring.making import plan_of, register

DATA = Path(__file__).parents[3] / "shared" / "data"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
async def model(shared_client):
    reference, _ = await register(shared_client)
    for verb in ("validate", "promote"):
        answer = await shared_client.post(f"/api/models/{reference}/{verb}", json={"reason": "test"})
        assert answer.status_code == 200, answer.text
    return reference.partition(":")[0]


@pytest.fixture
async def posted(shared_client, model):
    """The address of a fresh monitor of a posted series."""
    order = {"name": f"s-{new_id().hex[:12]}", "kind": "posted", "mean_run": 1000}
    answer = await shared_client.post(f"/api/models/{model}/regimes", json=order)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["regime"], answer.json()["values"]) == (None, 0)
    return f"/api/models/{model}/regimes/{order['name']}"


def as_items(values, start=NOON - timedelta(days=2000), step=timedelta(minutes=5)):
    return [{"at": (start + i * step).isoformat(), "value": float(value)} for i, value in enumerate(values)]


async def send(client, address, items):
    answer = await client.post(f"{address}/values", json={"items": items})
    assert answer.status_code == 200, answer.text
    return answer.json()


def stepping(generator, before=300, after=60, by=3.0):
    return np.concatenate([generator.normal(size=before), generator.normal(by, size=after)])


async def test_a_posted_series_is_followed_and_its_change_dated_and_told(shared_client, posted):
    items = as_items(stepping(np.random.default_rng(1)))
    quiet = await send(shared_client, posted, items[:300])
    assert (quiet["taken"], quiet["changes"]) == (300, [])
    assert quiet["monitor"]["regime"]["label"] == "usual, usual"
    told = await send(shared_client, posted, items[300:])
    [change] = told["changes"]
    assert change["level"] == "high"
    assert abs(
        datetime.fromisoformat(change["since"]) - datetime.fromisoformat(items[300]["at"])
    ) <= timedelta(minutes=15)
    assert change["mean_before"] == pytest.approx(0.0, abs=0.2)
    assert change["in_words"].endswith("beside the long run usual, usual before, high, usual now")
    seen = (await shared_client.get(posted)).json()
    assert (seen["regime"]["level"], seen["regime"]["since"]) == ("high", change["since"])
    assert (await shared_client.get(f"{posted}/changes")).json()["items"] == [change]
    facts = (await shared_client.get("/api/system/audit", params={"kind": "RegimeChanged"})).json()["items"]
    assert posted.rpartition("/")[2] in {fact["body"]["monitor"] for fact in facts}


async def test_rare_ones_among_zeros_are_followed_through_every_change(shared_client, model):
    order = {"name": f"s-{new_id().hex[:12]}", "kind": "posted", "mean_run": 100}
    await shared_client.post(f"/api/models/{model}/regimes", json=order)
    address = f"/api/models/{model}/regimes/{order['name']}"
    items = as_items((np.random.default_rng(2).random(4000) < 0.03) * 1.0)
    told = await send(shared_client, address, items)
    assert told["changes"]
    assert told["taken"] == 4000


async def test_each_value_counts_once_however_often_and_in_whatever_portions_it_is_sent(
    shared_client, model, posted
):
    items = as_items(stepping(np.random.default_rng(2)))
    for start in range(0, len(items), 50):
        portion = [*items[max(start - 20, 0) : start + 50]]
        told = await send(shared_client, posted, portion[::-1])
        assert told["repeated"] == min(start, 20)
    at_once = {"name": f"s-{new_id().hex[:12]}", "kind": "posted", "mean_run": 1000}
    await shared_client.post(f"/api/models/{model}/regimes", json=at_once)
    whole = await send(shared_client, f"/api/models/{model}/regimes/{at_once['name']}", items)
    in_portions = (await shared_client.get(posted)).json()
    assert in_portions["values"] == len(items)
    assert in_portions["regime"] == whole["monitor"]["regime"]
    between = {"at": (NOON - timedelta(days=2000) + timedelta(seconds=7)).isoformat(), "value": 1.0}
    late = await send(shared_client, posted, [between])
    assert (late["taken"], late["late"]) == (0, 1)


async def test_values_that_are_sent_at_once_by_several_are_taken_once(shared_client, posted):
    items = as_items(np.random.default_rng(3).normal(size=40))
    told = await asyncio.gather(*(send(shared_client, posted, items) for _ in range(5)))
    assert sorted(each["taken"] for each in told) == [0, 0, 0, 0, 40]


async def test_the_crash_of_march_2020_is_seen_in_daily_returns(shared_client, posted):
    path = DATA / "market_btc" / "BTCUSDT_1h_clean.csv.gz"
    if not path.exists():
        pytest.skip("market_btc is not there")
    with gzip.open(path, "rt") as lines:
        closes = {row["timestamp"][:10]: float(row["close"]) for row in csv.DictReader(lines)}
    days = sorted(closes)
    returns = [
        {"at": f"{day}T00:00:00Z", "value": math.log(closes[day] / closes[before])}
        for before, day in pairwise(days)
    ]
    told = await send(shared_client, posted, returns)
    turbulent = [change for change in told["changes"] if change["volatility"] == "turbulent"]
    assert [change["since"][:10] for change in turbulent] == ["2020-03-12"]
    assert turbulent[0]["found_at"] < "2020-03-21"
    assert len(told["changes"]) < 10


async def test_a_labelled_anomaly_of_a_database_s_load_begins_a_regime(shared_client, model):
    path = DATA / "nab_cloudwatch" / "realAWSCloudwatch" / "rds_cpu_utilization_cc0c53.csv"
    if not path.exists():
        pytest.skip("nab_cloudwatch is not there")
    order = {"name": f"s-{new_id().hex[:12]}", "kind": "posted"}
    await shared_client.post(f"/api/models/{model}/regimes", json=order)
    address = f"/api/models/{model}/regimes/{order['name']}"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    items = [{"at": row["timestamp"].replace(" ", "T") + "Z", "value": float(row["value"])} for row in rows]
    told = await send(shared_client, address, items)
    high = [change["since"] for change in told["changes"] if change["volatility"] == "turbulent"]
    assert "2014-02-24T22:50:00Z" < high[0] < "2014-02-25T15:35:00Z"


@pytest.mark.parametrize(
    ("order", "status", "problem"),
    [
        ({"name": "a", "kind": "column"}, 422, "source: name one of x0, x1"),
        ({"name": "a", "kind": "posted", "source": "x0"}, 422, "source: must be left out"),
        ({"name": "a b", "kind": "posted"}, 422, "name"),
        ({"name": "a", "kind": "column", "source": "x9"}, 422, "'x9' is none of x0, x1"),
        ({"name": "a", "kind": "column", "source": "prediction"}, 422, "'prediction' is none of"),
        ({"name": "a", "kind": "metric", "source": "luck"}, 422, "'luck' is none of rows"),
        ({"name": "a", "kind": "posted", "mean_run": 5}, 422, "mean_run"),
        ({"name": "a", "kind": "guessed"}, 422, "kind"),
    ],
)
async def test_what_cannot_be_followed_is_refused_with_the_reason(
    shared_client, model, order, status, problem
):
    answer = await shared_client.post(f"/api/models/{model}/regimes", json=order)
    assert answer.status_code == status, answer.text
    assert problem in answer.text


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ([], "items"),
        ([{"at": "2100-01-01T00:00:00Z", "value": 1}], "future"),
        ([{"at": "2020-01-01T00:00:00", "value": 1}], "at"),
        ([{"at": "2020-01-01T00:00:00Z", "value": "much"}], "value"),
        ([{"at": "2020-01-01T00:00:00Z"}], "value"),
        ([{"at": "2020-01-01T00:00:00Z", "value": 1e308}], "value: must lie between -1e+100 and 1e+100"),
    ],
)
async def test_values_that_are_none_are_refused_and_nothing_is_taken(shared_client, posted, items, problem):
    answer = await shared_client.post(f"{posted}/values", json={"items": items})
    assert answer.status_code == 422
    assert problem in answer.text
    assert (await shared_client.get(posted)).json()["values"] == 0


async def test_a_monitor_is_one_of_its_name_and_goes_when_it_is_deleted(shared_client, model, posted):
    name = posted.rpartition("/")[2]
    twice = await shared_client.post(f"/api/models/{model}/regimes", json={"name": name, "kind": "posted"})
    assert (twice.status_code, twice.json()["type"]) == (409, "/problems/regime-monitor-exists")
    await send(shared_client, posted, as_items([1.0, 2.0]))
    assert (await shared_client.delete(posted)).status_code == 204
    gone = await shared_client.get(posted)
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/regime-monitor-not-found")


async def test_a_column_is_followed_by_the_worker_alone(shared_client, model):
    order = {"name": f"s-{new_id().hex[:12]}", "kind": "column", "source": "latency_ms"}
    assert (await shared_client.post(f"/api/models/{model}/regimes", json=order)).status_code == 201
    address = f"/api/models/{model}/regimes/{order['name']}"
    answer = await shared_client.post(f"{address}/values", json={"items": as_items([1.0])})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/series-not-posted")
    listed = (await shared_client.get(f"/api/models/{model}/regimes", params={"limit": 200})).json()
    assert order["name"] in [each["name"] for each in listed["items"]]


async def fill(database, version, plan, means, first=0):
    """A bucket of twenty rows for each mean of the first column."""
    generator = np.random.default_rng(first)
    for number, mean in enumerate(means, first):
        place = Place(
            version.id, NOON + number * timedelta(minutes=5), "production", "champion", shadow=False
        )
        rows = generator.normal(size=(2, 20)) + np.array([[mean], [0.0]])
        async with database.writes(TESTER) as session:
            await add_to_profile(session, place, "spool", Counted(20, plan.profile(Answered(list(rows)))))


async def test_the_means_of_a_column_are_those_of_its_rows(database):
    async with database.writes(TESTER) as session:
        version = await make.version(session)
    plan = await plan_of(database, version)
    await fill(database, version, plan, [0.0, 5.0])
    async with database.reads() as session:
        means = await Series().bucket_means(
            session, [version.id], "x0", environment="production", after=NOON, until=NOON + timedelta(hours=1)
        )
    rows = np.random.default_rng(0).normal(size=(2, 2, 20))[1, 0] + 5.0
    assert means == [(NOON + timedelta(minutes=5), pytest.approx(rows.mean(), abs=1e-5))]


async def test_a_change_in_the_log_is_found_over_restarts_and_opens_an_incident_that_ends(
    database, monkeypatch
):
    async with database.writes(TESTER) as session:
        version = await make.version(session)
        monitors = [
            await make_monitor(
                session, version.model_id, "m", Terms(source, kind, source, "production", 1000.0)
            )
            for kind, source in ((SeriesKind.COLUMN, "x0"), (SeriesKind.METRIC, "rows"))
        ]
    plan = await plan_of(database, version)
    await fill(database, version, plan, [0.0] * 60)
    await fill(database, version, plan, [1.5] * 30, first=60)
    for buckets in (50, 60, 75, 75):
        now = NOON + buckets * timedelta(minutes=5) + timedelta(minutes=1)
        monkeypatch.setattr(clock, "now", lambda now=now: now)
        for monitor in monitors:
            async with database.writes(WORKER) as session:
                await watch_regime(session, monitor.id, Series())
    async with database.reads() as session:
        seen = dict((await session.execute(text("SELECT name, values FROM regime_monitor"))).all())
        [change] = (await session.execute(text("SELECT since, level FROM regime_change"))).all()
        assert await regime_changes(session, NOON, NOON + timedelta(minutes=1)) == {"m": 0.0}
    assert seen == {"x0": 75, "rows": 75}
    assert (change.since, change.level) == (NOON + timedelta(minutes=300), "high")
    await look(database)
    assert await incidents(database) == [("regime-change", "model:m", False)]
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(hours=2))
    await look(database)
    assert await incidents(database) == [("regime-change", "model:m", True)]


class Stream:
    """Rows of one version by the bucket, and a monitor of how many they are."""

    def __init__(self, database, monkeypatch):
        self.database, self.monkeypatch, self.looked_at = database, monkeypatch, None

    async def begin(self):
        async with self.database.writes(TESTER) as session:
            self.version = await make.version(session)
            terms = Terms("rows", SeriesKind.METRIC, "rows", "production", 1000.0)
            self.monitor = await make_monitor(session, self.version.model_id, "m", terms)
        self.plan = await plan_of(self.database, self.version)

    async def come(self, first, counts):
        for number, count in enumerate(counts, first):
            place = Place(self.version.id, at_bucket(number), "production", "champion", shadow=False)
            counted = Counted(count, self.plan.profile(Answered(list(np.zeros((2, count))))))
            async with self.database.writes(TESTER) as session:
                await add_to_profile(session, place, "spool", counted)

    async def look(self, bucket):
        """A minute after the end of a bucket; how many values are known after it."""
        now = at_bucket(bucket) + timedelta(minutes=6)
        self.monkeypatch.setattr(clock, "now", lambda: now)
        async with self.database.writes(WORKER) as session:
            await watch_regime(session, self.monitor.id, Series(), self.looked_at)
        self.looked_at = now
        async with self.database.reads() as session:
            return await session.scalar(text("SELECT values FROM regime_monitor"))

    async def values(self):
        async with self.database.reads() as session:
            rows = await session.execute(text("SELECT at, value FROM regime_value ORDER BY place"))
            return [(at, value) for at, value in rows]


def at_bucket(number):
    return NOON + number * timedelta(minutes=5)


@pytest.fixture
async def stream(database, monkeypatch):
    stream = Stream(database, monkeypatch)
    await stream.begin()
    return stream


async def test_a_stream_that_stops_altogether_is_a_change_of_its_rows(stream):
    await stream.come(0, np.random.default_rng(2).poisson(30, 80).tolist())
    assert await stream.look(79) == 80
    for bucket in range(80, 110):
        await stream.look(bucket)
    assert await stream.look(110) == 110  # the last one is believed to be silent at the next look
    async with stream.database.reads() as session:
        [change] = (await session.execute(text("SELECT since, level, mean FROM regime_change"))).all()
    assert (change.since, change.level, change.mean) == (at_bucket(80), "low", 0.0)


async def test_silence_between_rows_counts_and_each_bucket_once(stream):
    await stream.come(3, [5, 6])
    await stream.come(8, [7])
    assert await stream.look(4) == 2  # what was before the first row is no silence
    assert [await stream.look(8), await stream.look(8), await stream.look(9), await stream.look(10)] == [
        6,
        6,
        6,
        7,
    ]
    assert await stream.values() == [(at_bucket(3 + i), n) for i, n in enumerate([5, 6, 0, 0, 0, 7, 0])]


async def test_silence_is_not_believed_at_the_first_look_after_a_pause(stream):
    await stream.come(0, [5, 6])
    await stream.look(1)
    await stream.look(2)
    assert await stream.look(30) == 3  # the database was away: rows of that time may still be on their way
    await stream.come(3, [7] * 28)
    assert await stream.look(31) == 31
    assert [value for _, value in await stream.values()][3:] == [7.0] * 28


async def test_a_long_pause_is_caught_up_with_in_bounds(stream):
    await stream.come(0, [5])
    await stream.look(0)
    months_later = 60 * 24 * 12
    await stream.look(months_later)
    looks = [await stream.look(months_later + more) for more in range(1, 5)]
    assert looks == [2001, 4001, 4033, 4034]  # two thousand at a time, of the last two weeks
    two_weeks = timedelta(days=14)
    assert (await stream.values())[1][0] == at_bucket(months_later + 3) - two_weeks


async def look(database):
    handlers = alerts.job_handlers(
        Settings(), {Signal.REGIME_CHANGES: regime_changes}, {Signal.REGIME_CHANGES: changes_in_words}
    )
    await alerts.queue_looks(database)
    while claim := await claim_job(database, [alerts.QUEUE], list(handlers)):
        await asyncio.wait_for(run_claim(claim, handlers[claim.kind]), 30)


@pytest.fixture
async def followed(database):
    """A monitor of what is posted, and a way to send it values from a time on."""
    async with database.writes(TESTER) as session:
        version = await make.version(session)
        terms = Terms("returns", SeriesKind.POSTED, None, "production", 1000.0)
        monitor = await make_monitor(session, version.model_id, "m", terms)

    async def take(values, start, step):
        async with database.writes(TESTER) as session:
            held = await get_monitor(session, version.model_id, "m", monitor.name, locked=True)
            taken = await take_values(
                session, held, [(start + i * step, float(v)) for i, v in enumerate(values)]
            )
        return [say_change(change) for change in taken.changes]

    return take


async def test_a_history_that_is_sent_at_once_opens_no_incident(database, followed):
    generator = np.random.default_rng(1)
    history = np.r_[stepping(generator), generator.normal(size=200)]
    assert len(await followed(history, NOON - timedelta(days=2000), timedelta(days=1))) == 2
    await look(database)
    assert await incidents(database) == []


async def test_a_change_of_daily_values_opens_an_incident_that_says_what_changed(database, followed):
    """The value that shows it is of yesterday: its series says what is present, not the clock."""
    day, values = timedelta(days=1), stepping(np.random.default_rng(1))
    start, told, sent = clock.now() - 1000 * day, [], 300
    assert await followed(values[:sent], start, day) == []
    while not told:
        told = await followed(values[sent : sent + 1], start + sent * day, day)
        sent += 1
    await look(database)
    assert await incidents(database) == [("regime-change", "model:m", False)]
    async with database.reads() as session:
        evidence = await session.scalar(text("SELECT evidence FROM incident"))
    [change] = evidence["changes"]
    assert evidence["value_is"] == "how many changes of regime were found"
    assert change.startswith("returns since 20")
    assert change.endswith(f" UTC: {told[0]}")
    assert "mean from " in change
    assert change.endswith("beside the long run usual, usual before, high, usual now")


async def test_a_change_that_keeps_its_label_says_what_changed(followed):
    generator = np.random.default_rng(7)
    values = np.r_[generator.normal(size=1000), generator.normal(0.45, size=200)]
    [told] = await followed(values, NOON - timedelta(days=20), timedelta(minutes=5))
    assert told.endswith("beside the long run still usual, usual")
    assert "mean from " in told


async def incidents(database):
    async with database.reads() as session:
        rows = await session.execute(text("SELECT rule, subject, resolved_at IS NOT NULL FROM incident"))
        return [tuple(row) for row in rows]


async def test_who_may_predict_may_post_values_and_only_operators_make_monitors(client, key_of):
    order = {"name": "s", "kind": "posted"}
    caller, viewer = await key_of(Role.CALLER), await key_of(Role.VIEWER)
    assert (await client.post("/api/models/m/regimes", json=order, headers=caller)).status_code == 403
    values = {"items": as_items([1.0])}
    assert (
        await client.post("/api/models/m/regimes/s/values", json=values, headers=viewer)
    ).status_code == 403
    assert (
        await client.post("/api/models/m/regimes/s/values", json=values, headers=caller)
    ).status_code == 404
