"""M5: ground truth by prediction id, late, early, in bulk, corrected; each counted once. D11."""

import json
import sys
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from app.core import clock
from app.core.ids import new_id, new_ids
from app.evidence import readers
from app.evidence.feedback import ItemReader
from app.evidence.readers import FeedbackReaders
from app.evidence.rules import Target
from tests import make
from tests.conftest import TESTER
from tests.evidence.making import FEEDBACK, about, count, give, log_requests, scored_request

NOTHING = {"accepted": 0, "corrected": 0, "unchanged": 0, "pending": 0, "refused": []}


def id_at(moment):
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (new_id().int & ((1 << 80) - 1)))


@pytest.fixture
async def logged(database, version, tmp_path):
    """Two predictions of the model that are in the log."""
    scored = scored_request(2, version_id=version.id)
    await log_requests(database, tmp_path, scored)
    return scored.ids


async def test_a_label_is_accepted_then_unchanged_then_corrected_and_counted_once(database, caller, logged):
    assert await give(caller, about(logged[0], 1)) == NOTHING | {"accepted": 1}
    assert await give(caller, about(logged[0], 1)) == NOTHING | {"unchanged": 1}
    assert await give(caller, about(logged[0], 0)) == NOTHING | {"corrected": 1}
    assert await count(database, "SELECT count(*) FROM outcome") == 1
    assert await count(database, "SELECT corrections FROM outcome") == 1
    assert await count(database, "SELECT previous FROM outcome") == 1
    assert await count(database, "SELECT actual FROM outcome") == 0


async def test_a_correction_is_a_fact_and_a_first_label_is_none(database, caller, logged):
    facts = "SELECT count(*) FROM fact WHERE kind = 'OutcomesCorrected' AND subject = 'model:m'"
    await give(caller, about(logged[0], 1))
    assert await count(database, facts) == 0
    await give(caller, about(logged[0], 0))
    assert await count(database, facts) == 1


async def test_a_label_that_comes_before_its_prediction_waits_for_it(
    database, caller, viewer, version, tmp_path
):
    early = new_id()
    assert await give(caller, about(early, 1)) == NOTHING | {"pending": 1}
    assert (await viewer.get(f"/api/models/m/predictions/{early}")).status_code == 404
    await log_requests(database, tmp_path, scored_request(ids=[early], version_id=version.id))
    shown = (await viewer.get(f"/api/models/m/predictions/{early}")).json()
    assert shown["outcome"]["actual"] == 1
    assert await give(caller, about(early, 1)) == NOTHING | {"unchanged": 1}


async def test_of_several_labels_in_one_call_the_last_one_counts(database, caller, logged):
    items = [about(logged[0], 0), about(logged[0], 1), about(logged[0], 1), about(logged[1], 0)]
    assert await give(caller, *items) == NOTHING | {"accepted": 2, "corrected": 1, "unchanged": 1}
    assert await count(database, f"SELECT actual FROM outcome WHERE prediction_id = '{logged[0]}'") == 1


async def test_bad_items_are_refused_one_by_one_with_their_reasons(caller, logged):
    now = clock.now()
    items = [
        about(logged[0], 1),
        about(uuid4(), 1),
        about(id_at(now + timedelta(hours=1)), 1),
        about(id_at(now - timedelta(days=91)), 1),
        about(UUID(int=(((1 << 48) - 1) << 80) | (7 << 76) | (2 << 62)), 1),
        about("nonsense", 1),
        about(logged[1], 2),
        about(logged[1], "1"),
        about(logged[1], True),
        about(logged[1], [1]),
        about(logged[1], None),
        about(logged[1], 1, value="much"),
        about(logged[1], 1, observed_at="0001-01-01T00:00:00+14:00"),
        about(logged[1], 1, observed_at=(now + timedelta(days=1)).isoformat()),
        about(logged[1], 1, observedat="2026-01-01T00:00:00Z"),
        {"prediction_id": str(logged[1])},
        "not an object",
        None,
    ]
    answer = await give(caller, *items)
    assert answer["accepted"] == 1
    assert [refused["index"] for refused in answer["refused"]] == list(range(1, len(items)))
    problems = [refused["problem"] for refused in answer["refused"]]
    assert "not one that this service made" in problems[0]
    assert "future" in problems[1]
    assert "older than the 90 days" in problems[2]
    assert "not one that this service made" in problems[3]
    assert problems[4].startswith("prediction_id: Input should be a valid UUID")
    assert problems[5] == "actual: 2 is none of the classes 0, 1"
    assert problems[6] == 'actual: "1" is none of the classes 0, 1'
    assert problems[7] == "actual: true is none of the classes 0, 1"
    assert [p.split(":")[0] for p in problems[8:10]] == ["actual", "actual"]
    assert [p.split(":")[0] for p in problems[10:15]] == [
        "value", "observed_at", "observed_at", "observedat", "actual",
    ]  # fmt: skip
    assert answer["refused"][5]["prediction_id"] == str(logged[1])


async def test_a_prediction_of_another_model_is_refused(database, caller, logged):
    async with database.writes(TESTER) as session:
        await make.version(session, "other")
    answer = await give(caller, about(logged[0]), url="/api/models/other/feedback")
    assert answer["refused"][0]["problem"] == "prediction_id: not a prediction of other"
    assert await count(database, "SELECT count(*) FROM outcome") == 0


async def test_an_early_label_for_the_wrong_model_does_not_take_the_right_ones_place(
    database, caller, viewer, version, tmp_path
):
    async with database.writes(TESTER) as session:
        await make.version(session, "other")
    early = new_id()
    assert (await give(caller, about(early, 0), url="/api/models/other/feedback"))["pending"] == 1
    assert (await give(caller, about(early, 1)))["pending"] == 1
    await log_requests(database, tmp_path, scored_request(ids=[early], version_id=version.id))
    assert (await viewer.get(f"/api/models/m/predictions/{early}")).json()["outcome"]["actual"] == 1


async def test_a_regression_takes_numbers_only(database, caller):
    signature = make.SIGNATURE | {"task": "regression", "output": "float"}
    del signature["classes"]
    async with database.writes(TESTER) as session:
        await make.version(session, "price", signature=signature)
    items = [about(new_id(), 12), about(new_id(), -0.5), about(new_id(), "12"), about(new_id(), False)]
    answer = await give(caller, *items, url="/api/models/price/feedback")
    assert answer["pending"] == 2
    assert [refused["problem"] for refused in answer["refused"]] == [
        'actual: must be a number, not "12"',
        "actual: must be a number, not false",
    ]


async def test_a_class_that_only_a_newer_version_knows_is_a_true_answer_too(database, caller, logged):
    async with database.writes(TESTER) as session:
        await make.version(session, "m", signature=make.SIGNATURE | {"classes": [0, 1, 2]})
    assert (await give(caller, about(logged[0], 2)))["accepted"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"items": [NaN]}', 200),
        (b"[]", 422),
        (b'{"items": []}', 422),
        (b'{"items": {}}', 422),
        (b'{"items": [1], "more": 1}', 422),
        (b"", 400),
    ],
)
async def test_a_body_that_holds_no_items_is_refused_whole(caller, version, body, status):
    answer = await caller.post(FEEDBACK, content=body)
    assert answer.status_code == status, answer.text


async def test_feedback_needs_the_role_of_a_caller_and_a_model(viewer, caller, version):
    assert (await viewer.post(FEEDBACK, json={"items": [about(new_id())]})).status_code == 403
    refused = await caller.post("/api/models/none/feedback", json={"items": [about(new_id())]})
    assert refused.status_code == 404


async def test_more_items_than_one_call_takes_are_refused_before_any_is_stored(database, caller, version):
    body = b'{"items": [' + b",".join([b"0"] * 100_001) + b"]}"
    answer = await caller.post(FEEDBACK, content=body)
    assert answer.status_code == 413
    assert answer.json()["limit"] == 100_000


async def test_a_hundred_thousand_labels_go_in_one_call(database, caller, version, tmp_path):
    requests = [scored_request(1000, version_id=version.id) for _ in range(100)]
    await log_requests(database, tmp_path, *requests)
    items = [about(identifier) for request in requests for identifier in request.ids]
    assert await give(caller, *items) == NOTHING | {"accepted": 100_000}
    assert await give(caller, *items) == NOTHING | {"unchanged": 100_000}


@pytest.fixture
def in_a_child(monkeypatch):
    """Every body counts as large."""
    monkeypatch.setattr(readers, "SMALL_BYTES", 0)


async def test_a_large_call_counts_every_item_once(caller, database, version, tmp_path, in_a_child):
    async with database.writes(TESTER) as session:
        foreign = scored_request(7, model="other", version_id=(await make.version(session, "other")).id)
    logged = scored_request(7000, version_id=version.id)
    await log_requests(database, tmp_path, logged, foreign)
    early = new_ids(6000)
    items = [about(identifier, 0) for identifier in (*logged.ids, *early, *foreign.ids)]
    items += [about(logged.ids[0], 0), about(logged.ids[1], 1), about("nonsense"), about(logged.ids[2], "x")]
    answer = await give(caller, *items)
    refused = answer.pop("refused")
    assert answer == {"accepted": 7000, "pending": 6000, "corrected": 1, "unchanged": 1}
    assert [each["index"] for each in refused] == [*range(13_000, 13_007), 13_009, 13_010]
    assert {each["prediction_id"] for each in refused[:7]} == set(map(str, foreign.ids))
    assert await count(database, "SELECT count(*) FROM outcome") == 13_000


async def test_refused_items_come_from_the_child_as_they_are_told_and_keep_their_order(
    caller, logged, in_a_child
):
    reader = ItemReader(Target((0, 1), "integer"), clock.now(), 90)
    items = [about(logged[0], 2), about("nonsense"), about(logged[1], 1)]
    given = await FeedbackReaders().read(json.dumps({"items": items}).encode(), reader)
    told = (await give(caller, *items))["refused"]
    assert [json.loads(given.refused[place]) for place in (0, 1)] == told
    assert [each["index"] for each in told] == [0, 1]


async def test_a_label_is_kept_to_the_last_digit(caller, viewer, database, tmp_path):
    signature = make.SIGNATURE | {"task": "regression", "output": "float"}
    del signature["classes"]
    async with database.writes(TESTER) as session:
        version = await make.version(session, "price", signature=signature)
    scored = scored_request(3, model="price", version_id=version.id)
    await log_requests(database, tmp_path, scored)
    labels = [0.1 + 0.2, 12345678901234567890, -5e-324]
    items = [about(i, label, value=1 / 3) for i, label in zip(scored.ids, labels, strict=True)]
    await give(caller, *items, url="/api/models/price/feedback")
    for identifier, label in zip(scored.ids, labels, strict=True):
        outcome = (await viewer.get(f"/api/models/price/predictions/{identifier}")).json()["outcome"]
        assert (outcome["actual"], outcome["value"]) == (label, 1 / 3)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b'{"items": []}', 422), (b'{"items": [' + b"0," * 100_000 + b"0]}", 413)],
)
async def test_a_large_body_is_refused_like_a_small_one(caller, version, body, status, monkeypatch):
    small = await caller.post(FEEDBACK, content=body)
    monkeypatch.setattr(readers, "SMALL_BYTES", 0)
    large = await caller.post(FEEDBACK, content=body)
    assert (large.status_code, large.json()) == (status, small.json())


async def test_when_the_child_that_reads_is_killed_nothing_is_stored(
    caller, database, logged, in_a_child, monkeypatch
):
    killed = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with monkeypatch.context() as patched:
        patched.setattr(readers, "_COMMAND", killed)
        answer = await caller.post(FEEDBACK, json={"items": [about(logged[0])]})
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/feedback-reader-lost")
    assert await give(caller, about(logged[0])) == NOTHING | {"accepted": 1}


async def test_two_calls_with_the_same_labels_in_opposite_order_do_not_block_each_other(caller, version):
    import asyncio

    ids = new_ids(500)
    forth = [about(identifier, 0) for identifier in ids]
    back = [about(identifier, 1) for identifier in reversed(ids)]
    answers = await asyncio.gather(give(caller, *forth), give(caller, *back))
    assert sum(answer["pending"] for answer in answers) == 500
    assert sum(answer["corrected"] for answer in answers) == 500
