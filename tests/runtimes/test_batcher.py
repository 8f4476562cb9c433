"""D1, D12: requests share calls of the model without waiting for company, and never share its troubles."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtimes.batcher import Batcher
from app.runtimes.errors import DeadlinePassed, QueueFull
from app.runtimes.isolation import score_isolated
from app.runtimes.pace import Pace, measure_pace, unknown_pace
from app.runtimes.rows import Rows
from app.runtimes.scores import Model, Scores
from tests.runtimes.stand_in_models import Busy, Doubling, Gated, rows_of


def tiny_pace() -> Pace:
    return Pace(call_seconds=1e-5, row_seconds=1e-7)


def slow_pace() -> Pace:
    return Pace(call_seconds=0.01, row_seconds=1e-6)


def batcher_of(model: Model, pace: Pace, queue_rows: int = 1000) -> Batcher:
    return Batcher(model, pace, queue_rows=queue_rows)


def soon(seconds: float = 5) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def gated() -> Iterator[Gated]:
    model = Gated()
    yield model
    model.gate.set()


async def test_a_lone_request_is_scored_at_once():
    model = Doubling()
    scored = await batcher_of(model, tiny_pace()).score(rows_of(3), deadline=soon())
    assert scored.scores.prediction == [6]
    assert model.calls == [1]


async def test_requests_of_one_turn_of_the_loop_share_a_call():
    model = Doubling()
    batcher = batcher_of(model, tiny_pace())
    answers = await asyncio.gather(*(batcher.score(rows_of(i, i + 0.5), deadline=soon()) for i in range(8)))
    assert [answer.scores.prediction for answer in answers] == [[2 * i, 2 * i + 1] for i in range(8)]
    assert model.calls == [16]


async def test_an_idle_tiny_model_answers_several_requests_without_waiting():
    batcher = batcher_of(Doubling(), tiny_pace())
    scored = batcher.score_at_once([rows_of(1, 2), rows_of(3)])
    assert scored is not None
    assert [each.scores.prediction for each in scored] == [[2, 4], [6]]


async def test_a_model_that_is_slow_or_busy_or_refuses_a_row_answers_nothing_at_once(gated):
    assert batcher_of(Doubling(), slow_pace()).score_at_once([rows_of(1)]) is None
    assert batcher_of(Doubling(), tiny_pace()).score_at_once([rows_of(1), rows_of(-1)]) is None
    batcher = batcher_of(gated, tiny_pace())
    scoring = asyncio.ensure_future(batcher.score(rows_of(1), deadline=soon()))
    assert batcher.score_at_once([rows_of(2)]) is None
    gated.gate.set()
    await scoring


async def test_a_tiny_model_is_scored_on_the_event_loop_and_a_larger_one_beside_it():
    threads: list[threading.Thread] = []

    class Telling(Doubling):
        def score(self, rows: Rows) -> Scores:
            threads.append(threading.current_thread())
            return super().score(rows)

    await batcher_of(Telling(), tiny_pace()).score(rows_of(1), deadline=soon())
    await batcher_of(Telling(), slow_pace()).score(rows_of(1), deadline=soon())
    assert threads[0] is threading.current_thread()
    assert threads[1] is not threading.current_thread()


async def test_who_arrives_while_the_model_is_busy_forms_the_next_batch(gated):
    batcher = batcher_of(gated, slow_pace())
    first = asyncio.ensure_future(batcher.score(rows_of(1), deadline=soon()))
    await asyncio.sleep(0.02)
    later = [asyncio.ensure_future(batcher.score(rows_of(i), deadline=soon())) for i in (2, 3)]
    await asyncio.sleep(0.02)
    assert batcher.queued_rows == 2
    gated.gate.set()
    answers = await asyncio.gather(first, *later)
    assert [answer.scores.prediction for answer in answers] == [[2], [4], [6]]
    assert gated.calls == [1, 2]


async def test_a_model_is_never_called_twice_at_once():
    model = Busy(0.003)
    batcher = batcher_of(model, slow_pace())

    async def ask(i: int) -> None:
        await asyncio.sleep(i / 1000)
        assert (await batcher.score(rows_of(i), deadline=soon())).scores.prediction == [2 * i]

    await asyncio.gather(*map(ask, range(20)))
    assert not model.overlapped


async def test_the_loop_goes_on_while_a_model_is_busy(gated):
    """The model waits for what only the loop can do."""
    scoring = asyncio.ensure_future(batcher_of(gated, slow_pace()).score(rows_of(1), deadline=soon()))
    await asyncio.to_thread(gated.is_at_the_gate.wait, 5)
    assert not scoring.done()
    gated.gate.set()
    assert (await scoring).scores.prediction == [2]


async def test_a_bad_request_fails_alone():
    batcher = batcher_of(Doubling(), tiny_pace())
    good, bad, fine = await asyncio.gather(
        *(batcher.score(rows_of(number), deadline=soon()) for number in (1, -1, 2))
    )
    assert (good.scores.prediction, fine.scores.prediction) == ([2], [4])
    assert bad.failures == {0: "the model refused this row: ValueError: negative input"}


async def test_a_bad_row_fails_alone():
    numbers = [-7 if i in {3, 60} else i for i in range(100)]
    scored = await batcher_of(Doubling(), tiny_pace()).score(rows_of(*numbers), deadline=soon())
    assert set(scored.failures) == {3, 60}
    assert scored.count == 98
    assert [scored.scores.prediction[i] for i in (2, 4, 99)] == [4, 8, 198]
    assert scored.scores.probabilities is not None
    assert scored.scores.probabilities[4].tolist() == [-3, 4]


async def test_when_every_row_is_bad_every_row_says_so():
    scored = await batcher_of(Doubling(), tiny_pace()).score(rows_of(-1, -2, -3), deadline=soon())
    assert set(scored.failures) == {0, 1, 2}
    assert scored.count == 0


def test_taking_a_batch_apart_stops_at_the_deadline():
    (scored,) = score_isolated(Doubling(), [rows_of(1, -1, 2, 3)], until=time.monotonic() - 1)
    assert scored.failures == dict.fromkeys(range(4), "the deadline passed before this row was scored")


async def test_a_model_that_loses_count_spoils_no_answer():
    class Forgetful(Doubling):
        def score(self, rows: Rows) -> Scores:
            scores = super().score(rows)
            return scores.slice(1, len(rows.good)) if len(rows.good) > 1 else scores

    batcher = batcher_of(Forgetful(), tiny_pace())
    answers = await asyncio.gather(*(batcher.score(rows_of(i), deadline=soon()) for i in (1, 2)))
    assert [answer.scores.prediction for answer in answers] == [[2], [4]]


async def test_no_good_row_means_no_call():
    model = Doubling()
    scored = await batcher_of(model, tiny_pace()).score(rows_of(1).slice(0, 0), deadline=soon())
    assert scored.scores.prediction == []
    assert model.calls == []


async def test_a_large_request_goes_in_parts_and_smaller_ones_get_their_turn_in_between():
    model = Busy(0.02)
    batcher = batcher_of(model, Pace(call_seconds=0.001, row_seconds=0.001))
    large = asyncio.ensure_future(batcher.score(rows_of(*range(400)), deadline=soon()))
    await asyncio.sleep(0.01)
    small = await batcher.score(rows_of(5), deadline=soon())
    assert not large.done()
    assert small.scores.prediction == [10]
    assert (await large).scores.prediction == [2 * i for i in range(400)]
    assert max(model.calls) < 400


async def test_a_cancelled_request_leaves_the_queue_and_the_others_alone(gated):
    batcher = batcher_of(gated, slow_pace())
    riding, waiting, staying = [
        asyncio.ensure_future(batcher.score(rows_of(i), deadline=soon())) for i in range(3)
    ]
    await asyncio.sleep(0.02)
    late = asyncio.ensure_future(batcher.score(rows_of(9), deadline=soon()))
    await asyncio.sleep(0)
    for task in (riding, late):
        task.cancel()
    await asyncio.sleep(0)
    assert batcher.queued_rows == 0
    gated.gate.set()
    assert (await waiting).scores.prediction == [2]
    assert (await staying).scores.prediction == [4]
    assert gated.calls == [3]


async def test_a_full_queue_refuses_and_says_when_to_come_back(gated):
    batcher = batcher_of(gated, slow_pace(), queue_rows=3)
    riding = asyncio.ensure_future(batcher.score(rows_of(0), deadline=soon()))
    await asyncio.sleep(0.02)
    waiting = asyncio.ensure_future(batcher.score(rows_of(1, 2, 3), deadline=soon()))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull) as refusal:
        await batcher.score(rows_of(4), deadline=soon())
    assert (refusal.value.status, refusal.value.headers) == (429, {"Retry-After": "1"})
    gated.gate.set()
    await asyncio.gather(riding, waiting)


@pytest.mark.parametrize("is_first", [True, False])
async def test_the_deadline_ends_the_wait_whether_scoring_has_begun_or_not(gated, is_first):
    batcher = batcher_of(gated, slow_pace())
    ahead = None
    if not is_first:
        ahead = asyncio.ensure_future(batcher.score(rows_of(0), deadline=soon()))
        await asyncio.sleep(0.02)
    with pytest.raises(DeadlinePassed):
        await batcher.score(rows_of(1), deadline=soon(0.1))
    gated.gate.set()
    if ahead:
        assert (await ahead).scores.prediction == [0]
    assert (await batcher.score(rows_of(2), deadline=soon())).scores.prediction == [4]


@pytest.mark.parametrize("pace", [tiny_pace(), slow_pace()])
async def test_a_model_that_tries_to_end_the_process_fails_its_row(pace):
    class Quitting(Doubling):
        def score(self, rows: Rows) -> Scores:
            raise SystemExit

    scored = await batcher_of(Quitting(), pace).score(rows_of(1), deadline=soon())
    assert scored.failures == {0: "the model refused this row: SystemExit"}


def test_a_pace_is_measured_in_processor_time():
    class Spinning(Doubling):
        def score(self, rows: Rows) -> Scores:
            until = time.thread_time() + 0.001 + 0.0001 * len(rows.good)
            while time.thread_time() < until:
                pass
            return super().score(rows)

    pace = measure_pace(Spinning(), rows_of(1, 2, 3))
    assert pace.seconds(1) == pytest.approx(0.0011, rel=0.3)
    assert pace.row_seconds == pytest.approx(0.0001, rel=0.3)
    assert 300 < pace.rows_within(0.05) < 700


def test_a_pace_follows_what_large_batches_take():
    pace = unknown_pace()
    for _ in range(200):
        pace.learn(1, 5)
        pace.learn(1000, 0.002)
    assert pace.seconds(1000) == pytest.approx(0.002, rel=0.01)


class Fixed(Doubling):
    """A doubling whose calls take some processor time, and their rows some more."""

    def __init__(self, call_seconds: float, row_seconds: float = 0.0) -> None:
        super().__init__()
        self.call_seconds, self.row_seconds = call_seconds, row_seconds

    def score(self, rows: Rows) -> Scores:
        until = time.thread_time() + self.call_seconds + self.row_seconds * len(rows.good)
        while time.thread_time() < until:
            pass
        return super().score(rows)


def test_a_model_whose_call_is_what_costs_is_measured_to_take_many_rows():
    assert measure_pace(Fixed(0.08), rows_of(1, 2, 3)).rows_within(0.05) > 200
    assert measure_pace(Fixed(0.0, 0.08), rows_of(1, 2, 3)).rows_within(0.05) == 1


async def test_batches_grow_while_they_take_hardly_longer_than_a_call():
    model = Fixed(0.06)
    batcher = batcher_of(model, Pace(call_seconds=0.06, row_seconds=0.01))
    scored = await batcher.score(rows_of(*range(60)), deadline=soon(60))
    assert scored.scores.prediction == [2 * i for i in range(60)]
    assert len(model.calls) <= 12
    assert model.calls[-2] > model.calls[0]


@given(call=st.floats(0.05, 2), row=st.floats(1e-7, 0.5), told=st.floats(1e-8, 1), seen=st.integers(1, 256))
def test_batches_settle_where_rows_take_as_long_as_their_call(call, row, told, seen):
    """Whatever was believed of rows first; never far beyond two calls, nor below what they are worth."""
    pace = Pace(call_seconds=call, row_seconds=told, cheap_rows=min(seen, max(1, int(call / row))))
    for _ in range(300):
        rows = pace.rows_within(0.05)
        assert call + row * rows <= max(3 * call, call + row) + row
        pace.learn(rows, call + row * rows)
    assert rows >= min(1000, int(call / row)) / 2


def test_a_call_always_takes_at_least_one_row():
    assert Pace(call_seconds=1, row_seconds=1).rows_within(0.05) == 1
