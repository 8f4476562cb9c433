"""M5, M6: each label counts once in the sums of its five minutes, hour and day, whenever and however often it comes."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text

from app.core import clock
from app.core.ids import new_id
from app.evidence.actions import keep_log_days
from app.evidence.outcome_sums import ROWS_PER_PIECE, refresh, refresh_due, start_of
from app.evidence.realised import TRUE_CLASS, Labelled, Realised, Scale, add_up, realise, scale_of
from app.runtimes.schema import Signature
from tests import make
from tests.conftest import TESTER
from tests.evidence.making import about, give, log_requests, scored_request

REGRESSION = make.SIGNATURE | {"task": "regression", "output": "float", "classes": None}


def id_at(moment):
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (new_id().int & ((1 << 80) - 1)))


async def sums(database, minutes=5, model="m"):
    """The sums of a model, over all groups, once they are made."""
    async with database.writes(TESTER) as session:
        while await refresh(session, model):
            pass
    return add_up([part for _, part in await parts(database, minutes, model)])


async def parts(database, minutes=5, model="m"):
    query = (
        "SELECT * FROM live_outcome WHERE minutes = :minutes AND model = :model ORDER BY bucket, arm, shadow"
    )
    async with database.reads() as session:
        rows = (await session.execute(text(query), {"minutes": minutes, "model": model})).all()
    return [(row, Realised.from_json(row.rows, row.labelled, row.sums)) for row in rows]


@pytest.fixture
async def logged(database, version, tmp_path):
    """Four predictions of class 1, in the log."""
    scored = scored_request(4, version_id=version.id)
    await log_requests(database, tmp_path, scored)
    return scored.ids


@pytest.mark.parametrize("minutes", [5, 60, 1440])
async def test_a_label_counts_once_however_often_it_is_given_or_corrected(database, caller, logged, minutes):
    assert (await sums(database, minutes)).labelled == 0
    await give(caller, about(logged[0], 1), about(logged[1], 0))
    first = await sums(database, minutes)
    assert (first.rows, first.labelled, first.answers) == (4, 2, {"1": 4})
    assert first.pairs == {("1", "1"): 1, ("0", "1"): 1}
    await give(caller, about(logged[0], 1), about(logged[1], 1))
    second = await sums(database, minutes)
    assert (second.rows, second.labelled, second.pairs) == (4, 2, {("1", "1"): 2})
    assert second.delays.total() == 1  # that of a corrected label is not known any more
    assert int(second.scores["1"].positives.sum()) == 2


async def test_labels_that_come_while_sums_are_made_are_in_them_in_the_end(
    database, caller, version, tmp_path
):
    scored = scored_request(200, version_id=version.id)
    await log_requests(database, tmp_path, scored)
    given = asyncio.Event()

    async def keep_making():
        while not given.is_set():
            async with database.writes(TESTER) as session:
                await refresh(session, "m")

    async def keep_giving(number):
        for each in scored.ids[number::4]:
            await give(caller, about(each, 0))
            await give(caller, about(each, 1))

    making = asyncio.create_task(keep_making())
    await asyncio.gather(*map(keep_giving, range(4)))
    given.set()
    await making
    assert (await sums(database)).pairs == {("1", "1"): 200}
    assert (await sums(database, 1440)).pairs == {("1", "1"): 200}


async def test_rows_that_are_read_in_several_pieces_are_counted_once(database, caller, version, tmp_path):
    scored = scored_request(ROWS_PER_PIECE + 50, version_id=version.id)
    await log_requests(database, tmp_path, scored)
    await give(caller, *(about(each, i % 2) for i, each in enumerate(scored.ids)))
    whole = await sums(database)
    assert whole.labelled == whole.rows == whole.pairs.total() == whole.delays.total() == len(scored.ids)


async def test_a_label_that_changes_nothing_leaves_the_sums_alone(database, caller, logged):
    await give(caller, about(logged[0], 1))
    await sums(database)
    await give(caller, about(logged[0], 1))
    async with database.reads() as session:
        assert await session.scalar(text("SELECT count(*) FROM outcome_mark")) == 0


async def test_an_early_label_is_counted_when_its_prediction_comes(database, caller, version, tmp_path):
    early = new_id()
    await give(caller, about(early, 0))
    assert (await sums(database)).rows == 0
    await log_requests(database, tmp_path, scored_request(ids=[early], version_id=version.id))
    assert (await sums(database)).pairs == {("0", "1"): 1}


async def test_predictions_alone_are_counted_when_their_minutes_are_over(database, logged, monkeypatch):
    async with database.writes(TESTER) as session:
        assert not await refresh_due(session)
    later = clock.now() + timedelta(minutes=6)
    monkeypatch.setattr(clock, "now", lambda: later)
    async with database.writes(TESTER) as session:
        assert await refresh_due(session)
        assert not await refresh_due(session)
    assert [(row.rows, row.labelled) for row, _ in await parts(database)] == [(4, 0)]


async def test_arms_shadows_and_hours_are_kept_apart(database, caller, version, tmp_path):
    start = start_of(clock.now(), 1440) - timedelta(days=1)
    requests = [
        scored_request(ids=[id_at(start + timedelta(hours=hour))], version_id=version.id, arm=arm, shadow=shadow)
        for hour, arm, shadow in ((1, "champion", False), (1, "challenger", False), (2, None, True), (2, "champion", False))
    ]  # fmt: skip
    await log_requests(database, tmp_path, *requests)
    await give(caller, *(about(request.ids[0], 1) for request in requests))
    assert (await sums(database, 1440)).labelled == 4
    hours = [(row.bucket - start, row.arm, row.shadow) for row, _ in await parts(database, 60)]
    assert hours == [
        (timedelta(hours=1), "challenger", False), (timedelta(hours=1), "champion", False),
        (timedelta(hours=2), "", True), (timedelta(hours=2), "champion", False),
    ]  # fmt: skip
    assert [(row.arm, row.shadow, row.rows) for row, _ in await parts(database, 1440)] == [
        ("", True, 1), ("challenger", False, 1), ("champion", False, 2),
    ]  # fmt: skip


async def test_days_that_leave_the_log_keep_their_sums_by_hour_and_day(database, caller, version, tmp_path):
    old = clock.now() - timedelta(days=5)
    await log_requests(database, tmp_path, scored_request(ids=[id_at(old)], version_id=version.id))
    await give(caller, about(id_at(old)))
    await sums(database)
    async with database.writes(TESTER) as session:
        await keep_log_days(session, 3)
    assert (await sums(database)).rows == 0
    assert [(await sums(database, minutes)).rows for minutes in (60, 1440)] == [1, 1]


async def test_a_regression_is_summed_in_one_unit_for_its_whole_life(database, tmp_path, caller):
    async with database.writes(TESTER) as session:
        price = await make.version(session, "price", signature=REGRESSION)
    made_of = {"model": "price", "version_id": price.id, "probabilities": None}
    for hours, guesses in ((3, [1.0, 2.0, None]), (2, [50.0, 60.0, 70.0])):
        ids = [id_at(clock.now() - timedelta(hours=hours, milliseconds=-i)) for i in range(3)]
        await log_requests(database, tmp_path, scored_request(3, ids=ids, predictions=guesses, **made_of))
        await give(caller, *(about(each, 2.5) for each in ids), url="/api/models/price/feedback")
        await sums(database, model="price")
    units = {(part.errors.centre, part.errors.unit) for _, part in await parts(database, model="price")}
    assert len(units) == 1
    whole = await sums(database, 1440, "price")
    assert whole.errors.per_row("abs_e") * whole.errors.unit * 5 == pytest.approx(
        1.5 + 0.5 + 47.5 + 57.5 + 67.5, rel=1e-3
    )


def labelled(actual, predicted, probabilities=None):
    rows = len(actual)
    return Labelled(actual, predicted, probabilities or [None] * rows, [3.0] * rows)


def test_sums_of_parts_are_the_sums_of_the_whole():
    signature = Signature.from_json(make.SIGNATURE | {"classes": ["a", "b", "c"], "output": "string"})
    generator = np.random.default_rng(1)
    odds = generator.dirichlet(np.ones(3), 60).tolist()
    odds[3], odds[4] = None, [None] * 3
    actual, predicted = generator.choice(list("abc"), 60).tolist(), generator.choice(list("abc"), 60).tolist()
    actual[7] = "only a newer version knows it"
    whole = realise(signature, labelled(actual, predicted, odds), None)
    halves = [
        realise(signature, labelled(actual[at], predicted[at], odds[at]), None)
        for at in (slice(30), slice(30, 60))
    ]
    together = Realised.from_json(0, 60, add_up(halves).to_json())
    assert (together.pairs, together.delays) == (whole.pairs, whole.delays)
    assert {*together.scores} == {'"a"', '"b"', '"c"', TRUE_CLASS}
    for name, counts in whole.scores.items():
        assert np.array_equal(together.scores[name].positives, counts.positives)
        assert np.array_equal(together.scores[name].negatives, counts.negatives)
        assert together.scores[name].unusable == counts.unusable


def test_answers_that_are_no_labels_or_numbers_are_counted_and_no_more():
    many = Signature.from_json(REGRESSION | {"classes": None})
    assert realise(many, labelled([1.0], [[1.0, 2.0]]), Scale(0, 1)).errors.unusable == 1
    clusters = Signature.from_json(REGRESSION | {"task": "clustering"})
    assert realise(clusters, labelled([1], [1]), None) == Realised(labelled=1, delays={2: 1})
    scores = Signature.from_json(REGRESSION | {"task": "anomaly"})
    assert realise(scores, labelled([1], [0.3]), None).pairs == {}


def test_the_delay_of_most_labels_is_known_to_a_factor_of_two():
    assert Realised().delay_seconds(0.9) is None
    assert Realised(delays=Counter({0: 1, 5: 8, 9: 1})).delay_seconds(0.9) == 32.0


@pytest.mark.parametrize("values", [[], [None], ["a"], [0.0, 0.0], [1e308, -1e308], [5e-324]])
def test_a_unit_is_found_for_any_values(values):
    assert 0 < scale_of(values).unit < np.inf


async def test_rows_are_counted_once_however_the_batches_and_looks_interleave(
    database, caller, version, tmp_path
):
    start = start_of(clock.now(), 60) - timedelta(hours=2)
    made = {"version_id": version.id, "predictions": [1, 0, 1, 1], "failures": {3: {"why": "it failed"}}}
    for number in range(3):
        ids = [id_at(start + timedelta(minutes=minute)) for minute in (1, 2, 6, 7)]
        await log_requests(database, tmp_path / str(number), scored_request(4, ids=ids, **made))
        await give(caller, about(ids[0], 1))
        assert (await sums(database)).rows == 3 * (number + 1)
    first, second = [part for _, part in await parts(database)]
    assert (first.rows, first.labelled, first.answers) == (6, 3, {"1": 3, "0": 3})
    assert (second.rows, second.labelled, second.answers) == (3, 0, {"1": 3})
