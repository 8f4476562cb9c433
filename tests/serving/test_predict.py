"""D1, D10, D11, D12, M5: predict answers with prediction, probabilities, version and id; what it answers is on record."""

import asyncio
import json
import math
import threading
from uuid import UUID

import httpx
import pytest

from app.core.errors import kinds_of_refusal
from app.core.ids import is_time_ordered
from app.evidence.spool import Spool
from app.runtimes.isolation import OUT_OF_TIME
from app.runtimes.rows import Rows
from app.runtimes.schema import Column, ColumnType, Signature, Task
from app.runtimes.scores import Scores
from app.serving.lines import Line, LogMode
from tests.serving.conftest import door_of
from tests.serving.stand_in_serving import ONE, TWO, House, SumSign, route_to

PREDICT = "/api/models/sign/predict"
GOOD = {"x": 1, "y": 2.5}


async def predict(client, *rows, path=PREDICT, headers=None, **options):
    return await client.post(path, json={"instances": list(rows), **options}, headers=headers)


async def test_an_answer_tells_prediction_probabilities_confidence_version_and_id(client):
    answer = await predict(client, GOOD)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    (row,) = body["predictions"]
    likely = 1 / (1 + math.exp(-3.5))
    assert (body["model_id"], body["revision"]) == ("sign:1", 7)
    assert row["prediction"] is True
    assert row["probabilities"] == {"false": pytest.approx(1 - likely), "true": pytest.approx(likely)}
    assert row["confidence"] == pytest.approx(likely)
    assert is_time_ordered(UUID(row["prediction_id"]))
    assert body["latency_ms"] > 0


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [[1, 2.5], [-3, 1]]},
        {"instances": [{"y": 2.5, "x": 1}, {"x": -3, "y": 1}]},
        {"dataframe_records": [{"x": 1, "y": 2.5}, {"x": -3, "y": 1}]},
        {"dataframe_split": {"columns": ["y", "x"], "data": [[2.5, 1], [1, -3]]}},
        {"inputs": {"x": [1, -3], "y": [2.5, 1]}},
    ],
)
async def test_rows_come_as_records_split_frames_or_arrays(client, body):
    answer = await client.post(PREDICT, json=body)
    assert [row["prediction"] for row in answer.json()["predictions"]] == [True, False]


async def test_the_versioned_tree_answers_alike(client):
    answer = await predict(client, GOOD, path="/api/v1/models/sign:2/predict")
    assert answer.json()["model_id"] == "sign:2"
    assert answer.json()["revision"] is None


async def test_a_bad_row_carries_its_error_and_its_neighbours_their_answers(client, house: House):
    answer = await predict(client, GOOD, {"x": "one"}, {"x": 13, "y": 0}, {"x": -1, "y": 0})
    assert answer.status_code == 200
    first, misfit, refused, last = answer.json()["predictions"]
    assert (first["prediction"], last["prediction"]) == (True, False)
    assert misfit["error"]["message"] == "x has the wrong type; y is missing"
    assert [column["column"] for column in misfit["error"]["columns"]] == ["x", "y"]
    assert refused["error"] == {"message": "the model refused this row: ValueError: 13 is bad luck"}
    (record,) = house.logged()
    assert [str(each) for each in record.ids] == [row["prediction_id"] for row in (first, refused, last)]
    assert [str(key) for key, _ in record.refused] == [misfit["prediction_id"]]
    assert set(record.failures) == {1}


async def test_when_no_row_is_scored_the_answer_is_422_with_the_reasons(client, house: House):
    answer = await predict(client, {"x": 1}, {"x": 13, "y": 0})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "/problems/nothing-scored"
    assert [error["row"] for error in problem["errors"]] == [0, 1]
    (record,) = house.logged()  # that the model refused one is a failure like any other
    assert (list(record.failures), len(record.refused)) == ([0], 1)


async def test_a_request_of_which_no_row_fits_the_model_is_on_record(client, house: House):
    """Whoever asks row by row is seen like whoever sends them together."""
    assert (await predict(client, {"x": 1}, {"x": "a", "y": 0})).status_code == 422
    (record,) = house.logged()
    assert (len(record.ids), [error[0]["column"] for _, error in record.refused]) == (0, ["y", "x"])


@pytest.mark.parametrize(
    ("content", "status", "problem"),
    [
        (b"", 400, "malformed-json"),
        (b"{", 400, "malformed-json"),
        (b'{"instances": [[NaN, 1]]}', 400, "malformed-json"),
        (b'{"instances": [["\\ud800", 1]]}', 400, "malformed-json"),
        (b"[" * 100_000, 413, "body-too-deep"),
        (b"[]", 400, "unknown-payload"),
        (b'{"rows": []}', 400, "unknown-payload"),
        (b'{"instances": {}}', 400, "misshapen-payload"),
        (b'{"instances": []}', 422, "empty-batch"),
        (b'{"instances": [[1e400, 1]]}', 422, "nothing-scored"),
        (b'{"instances": [[9' + b"9" * 400 + b", 1]]}", 422, "nothing-scored"),
        (b'{"instances": [[1, 2]], "entity_id": ""}', 422, "field-problem"),
        (b'{"instances": [[1, 2]], "entity_id": "a\\u0000b"}', 422, "field-problem"),
        (b'{"instances": [[1, 2]], "environment": 7}', 422, "field-problem"),
        (b'{"instances": [' + b"[1,2]," * 60_000 + b"[1,2]]}", 413, "too-many-rows"),
    ],
)
async def test_a_bad_body_is_refused_with_its_reason(client, house: House, content, status, problem):
    answer = await client.post(PREDICT, content=content)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")
    assert len(house.logged()) == (problem == "nothing-scored")
    assert (await predict(client, GOOD)).status_code == 200


@pytest.mark.parametrize(
    ("key", "status"), [("caller", 200), ("operator", 200), ("viewer", 403), ("other", 404), ("nobody", 401)]
)
async def test_only_callers_whose_key_covers_the_model_get_an_answer(client, key, status):
    answer = await predict(client, GOOD, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == status


async def test_an_unknown_reference_is_404_and_other_paths_are_passed_on(client):
    assert (await predict(client, GOOD, path="/api/models/ghost/predict")).status_code == 404
    for path in ("/api/models/a/b/predict", "/api/models//predict", "/api/models/sign/feedback"):
        answer = await client.post(path, json={})
        assert (answer.status_code, answer.text) == (404, "Not Found")
    assert (await client.get(PREDICT)).text == "Not Found"


async def test_an_entity_always_meets_the_same_version_wherever_its_key_stands(client, house: House):
    house.lines.known["sign"] = Line(route_to(ONE, TWO, weights=(0.5, 0.5)))
    met = {}
    for entity in range(30):
        answers = [
            await predict(client, GOOD, entity_id=str(entity)),
            await predict(client, GOOD, entity_id=entity),
            await predict(client, GOOD, headers={"X-Entity-Id": str(entity)}),
        ]
        (met[entity],) = {answer.json()["model_id"] for answer in answers}
    assert set(met.values()) == {"sign:1", "sign:2"}
    assert {record.origin.propensity for record in house.logged()} == {0.5}
    assert {record.entity_id for record in house.logged()} == set(map(str, met))


async def test_an_arm_can_be_asked_for_by_an_operator_alone(client, house: House):
    house.lines.known["sign"] = Line(route_to(ONE, TWO, weights=(1.0, 0.0)))
    operator = {"Authorization": "Bearer operator"}
    answer = await predict(client, GOOD, headers=operator, arm="b")
    assert answer.json()["model_id"] == "sign:2"
    assert [(record.origin.arm, record.origin.propensity) for record in house.logged()] == [("b", 1.0)]
    assert (await predict(client, GOOD, headers=operator, arm="z")).json()["arms"] == ["a", "b"]
    assert (await predict(client, GOOD, arm="b")).status_code == 403


async def test_an_environment_has_a_route_of_its_own(client, house: House):
    house.lines.known["sign in staging"] = Line(route_to(TWO))
    assert (await predict(client, GOOD, environment="staging")).json()["model_id"] == "sign:2"
    assert (await predict(client, GOOD, environment="moon")).status_code == 404


async def test_what_is_answered_is_on_record_before_it_is_answered(client, house: House):
    answer = await predict(client, GOOD, [4, 5], request_id="my-request", entity_id="me")
    (record,) = house.logged()
    assert [str(each) for each in record.ids] == [
        row["prediction_id"] for row in answer.json()["predictions"]
    ]
    assert (record.request_id, record.caller, record.entity_id) == ("my-request", "caller", "me")
    assert (record.origin.model, record.origin.version_id, record.origin.version) == ("sign", ONE, 1)
    assert (record.origin.revision, record.origin.arm, record.origin.shadow) == (7, "a", False)
    assert record.origin.log_probability == 1
    assert record.features.tolist() == [[1, 2.5], [4, 5]]
    assert record.predictions == [True, True]
    assert record.latency_ms == pytest.approx(answer.json()["latency_ms"], abs=0.001)


async def test_without_an_id_of_its_own_a_request_is_recorded_under_the_answers_one(client, house: House):
    answer = await predict(client, GOOD)
    assert house.logged()[0].request_id == answer.headers["x-request-id"]


@pytest.fixture
def tiny_spool(house: House, tmp_path) -> None:
    house.journal._spool = Spool(tmp_path / "tiny", max_bytes=10)


@pytest.mark.parametrize("mode", [LogMode.DURABLE, LogMode.FSYNC])
@pytest.mark.usefixtures("tiny_spool")
async def test_no_room_for_the_record_means_no_answer(client, house: House, mode):
    house.lines.known["sign"] = Line(route_to(ONE), mode)
    answer = await predict(client, GOOD)
    assert (answer.status_code, answer.json()["type"]) == (507, "/problems/spool-full")


@pytest.mark.usefixtures("tiny_spool")
async def test_a_sampled_record_without_room_is_dropped_and_the_answer_given(client, house: House):
    house.lines.known["sign"] = Line(route_to(ONE), LogMode.SAMPLED, 1.0)
    assert (await predict(client, GOOD)).status_code == 200


async def test_a_sample_of_the_requests_is_recorded_with_its_probability(client, house: House):
    house.lines.known["sign"] = Line(route_to(ONE), LogMode.SAMPLED, 0.5)
    await asyncio.gather(*(predict(client, GOOD) for _ in range(200)))
    records = house.logged()
    assert 60 < len(records) < 140
    assert {record.origin.log_probability for record in records} == {0.5}


async def test_fsync_answers_once_the_disk_has_it(client, house: House):
    house.lines.known["sign"] = Line(route_to(ONE), LogMode.FSYNC)
    await asyncio.gather(*(predict(client, GOOD) for _ in range(20)))
    assert len(house.logged()) == 20


async def test_requests_at_once_get_each_its_own_answer(client):
    async def ask(i: int) -> None:
        answer = await predict(client, [i, -50.5])
        assert answer.json()["predictions"][0]["prediction"] is (i > 50.5)

    await asyncio.gather(*(ask(i) for i in range(100) if i != 13))


async def test_a_switch_of_versions_fails_no_request_and_mixes_no_answer(client, house: House):
    async def ask() -> None:
        body = (await predict(client, GOOD, GOOD, GOOD)).json()
        version = int(body["model_id"].partition(":")[2])
        ids = {row["prediction_id"] for row in body["predictions"]}
        answers.append((version, ids))

    answers: list[tuple[int, set[str]]] = []
    for round_number in range(20):
        house.lines.known["sign"] = Line(route_to(TWO if round_number % 2 else ONE))
        await asyncio.gather(*(ask() for _ in range(10)))
    assert {version for version, _ in answers} == {1, 2}
    recorded = {frozenset(map(str, record.ids)): record.origin.version for record in house.logged()}
    assert recorded == {frozenset(ids): version for version, ids in answers}


async def test_numbers_and_what_is_no_number_are_answered_as_json(client, house: House):
    class Inverse:
        def score(self, rows):
            return Scores([1 / row[0] if row[0] else math.inf for row in rows.values])

    house.models[TWO] = Inverse()
    house.signatures[TWO] = Signature((Column("x", ColumnType.FLOAT),), Task.REGRESSION)
    answer = await predict(client, [4], [0], path="/api/models/sign:2/predict")
    assert [row["prediction"] for row in answer.json()["predictions"]] == [0.25, None]
    assert set(answer.json()["predictions"][0]) == {"prediction_id", "prediction"}


async def test_columns_that_the_model_does_not_take_are_warned_of(client):
    body = (await predict(client, {**GOOD, "z": 1})).json()
    assert body["warnings"] == ['1 columns that the model does not take were ignored: "z"']


async def test_a_version_that_can_not_be_loaded_is_503_and_says_why(client, house: House):
    del house.models[TWO]
    answer = await predict(client, GOOD, path="/api/models/sign:2/predict")
    assert (answer.status_code, answer.json()["state"]) == (503, "failed")
    assert answer.headers["retry-after"] == "1"


async def test_a_client_that_hangs_up_mid_body_costs_nothing(house: House):
    from starlette.datastructures import State

    from app.serving.api import PredictApp

    messages = [
        {"type": "http.request", "body": b'{"inst', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    state = State({"predictor": house.predictor, "authenticate": house.keys})
    headers = [(b"host", b"localhost"), (b"authorization", b"Bearer caller")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": PREDICT,
        "headers": headers,
        "state": {},
    }
    await PredictApp(None, state=state, settings=house.settings)(scope, receive, send)
    assert sent == []


async def test_a_body_in_pieces_is_one_body(client):
    async def pieces():
        for piece in json.dumps({"instances": [GOOD]}).encode().partition(b":"):
            yield piece

    assert (await client.post(PREDICT, content=pieces())).status_code == 200


def test_every_refusal_of_predict_has_a_page():
    assert {"NothingScored", "MalformedJson", "UnknownArm", "QueueFull", "DeadlinePassed"} <= {
        kind.__name__ for kind in kinds_of_refusal()
    }


async def test_a_row_that_the_model_refuses_alone_is_on_record_as_a_failure(client, house: House):
    answer = await predict(client, {"x": 13, "y": 0})
    assert answer.json()["type"] == "/problems/nothing-scored"
    (record,) = house.logged()
    assert (record.scored_rows, list(record.failures)) == (1, [0])
    assert "13 is bad luck" in record.failures[0]


class Gated(SumSign):
    """Scores rows of small numbers; with any other it waits for a gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def score(self, rows: Rows) -> Scores:
        assert max(row[0] for row in rows.values) < 100 or self.gate.wait(30)
        return super().score(rows)


@pytest.mark.parametrize("rows", [3, 50_000], ids=["small", "large"])
async def test_rows_whose_deadline_passes_are_on_record_as_failures(tmp_path, rows):
    house = House(tmp_path / "spool", predict_deadline_ms=3000)
    model = house.models[ONE] = Gated()
    transport = httpx.ASGITransport(door_of(house))
    headers = {"Authorization": "Bearer caller"}
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as client:
            assert (await predict(client, GOOD)).status_code == 200
            (await house.cache.get_ready(ONE)).pace.call_seconds = 1  # in a thread of its own
            answer = await predict(client, *[{"x": 100 + i, "y": 0} for i in range(rows)])
    finally:
        model.gate.set()
    assert (answer.status_code, answer.json()["type"]) == (504, "/problems/deadline-passed")
    records = house.logged()[1:]
    await house.close()
    assert records
    assert all(len(record.failures) == record.scored_rows > 0 for record in records)
    assert {reason for record in records for reason in record.failures.values()} == {OUT_OF_TIME}
