"""D13: what the Open Inference Protocol v2 tells of the server, its health, its models and its repository."""

from contextlib import contextmanager

import pytest

import app
from app.core.database import Database
from app.core.health import Condition, Part
from tests.conftest import client_of, draining
from tests.real_models import register

ROW = {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}]}


@contextmanager
def swapped(state, name, value):
    """A part of the running service replaced for a while."""
    whole = getattr(state, name)
    setattr(state, name, value)
    try:
        yield
    finally:
        setattr(state, name, whole)


async def test_the_server_tells_what_it_is_with_and_without_a_slash(door):
    for path in ("/v2", "/v2/"):
        answer = await door.get(path)
        assert answer.status_code == 200
        assert answer.json() == {
            "name": "switchyard",
            "version": app.__version__,
            "extensions": ["model_repository"],
        }


async def test_a_live_server_says_so(door):
    answer = await door.get("/v2/health/live")
    assert (answer.status_code, answer.json()) == (200, {"live": True})


async def test_a_ready_server_says_so(door):
    answer = await door.get("/v2/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "live": True})
    assert (await door.get("/ping")).status_code == 200


@pytest.mark.parametrize("path", ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/churn", "/ping"])
async def test_whoever_may_get_may_head(door, path):
    assert (await door.head(path)).status_code == 200


async def test_a_server_without_any_model_is_ready(client):
    assert (await client.get("/v2/health/ready")).json() == {"ready": True, "live": True}
    assert (await client.post("/v2/repository/index")).json() == []


async def test_a_server_that_lacks_a_model_is_not_ready_and_says_why(client, service):
    async def lacking():
        return Part(Condition.DOWN, "cancer:2 is loading", blocks_traffic=True)

    service.state.health.add("models", lacking)
    answer = await client.get("/v2/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"error": "models: cancer:2 is loading", "ready": False, "live": True}
    assert (await client.get("/ping")).status_code == 503


async def test_what_only_degrades_the_service_does_not_turn_requests_away(client, service):
    async def slow():
        return Part(Condition.DEGRADED, "slow")

    service.state.health.add("database", slow)
    assert (await client.get("/v2/health/ready")).status_code == 200


async def test_a_server_that_ends_is_not_ready(service):
    async with client_of(draining(service)) as client:
        answer = await client.get("/v2/health/ready")
    assert (answer.status_code, answer.json()["error"]) == (503, "this process is shutting down")


async def test_metadata_has_an_input_for_each_column(door):
    answer = await door.get("/v2/models/churn")
    assert answer.status_code == 200
    assert answer.json() == {
        "name": "churn",
        "versions": ["1"],
        "platform": "scikit-learn_skops",
        "inputs": [
            {"name": "age", "datatype": "INT64", "shape": [-1]},
            {"name": "spend", "datatype": "FP64", "shape": [-1]},
            {"name": "member", "datatype": "BOOL", "shape": [-1]},
            {"name": "city", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "predict", "datatype": "BYTES", "shape": [-1]},
            {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]},
        ],
        "properties": {
            "model_id": "churn:1",
            "stage": "production",
            "task": "classification",
            "classes": '["leaves","stays"]',
        },
    }


async def test_metadata_tells_where_one_tensor_may_stand_for_all_columns(door):
    cancer = (await door.get("/v2/models/cancer")).json()
    assert cancer["properties"]["matrix"] == "FP64 [-1, 30]"
    assert cancer["inputs"][0] == {"name": "mean radius", "datatype": "FP64", "shape": [-1]}
    plane = (await door.get("/v2/models/plane")).json()
    assert plane["outputs"] == [{"name": "predict", "datatype": "FP64", "shape": [-1, 2]}]


async def test_a_client_that_sends_what_metadata_names_is_answered(door):
    samples = {"INT64": 40, "FP64": 1.5, "BOOL": True, "BYTES": "Oslo"}
    for model in ("cancer", "churn", "plane"):
        metadata = (await door.get(f"/v2/models/{model}")).json()
        inputs = [
            {"name": t["name"], "datatype": t["datatype"], "shape": [1], "data": [samples[t["datatype"]]]}
            for t in metadata["inputs"]
        ]
        answer = (await door.post(f"/v2/models/{model}/infer", json={"inputs": inputs})).json()
        for declared, given in zip(metadata["outputs"], answer["outputs"], strict=True):
            assert (declared["name"], declared["datatype"]) == (given["name"], given["datatype"])
            assert [1, *declared["shape"][1:]] == given["shape"]


async def test_metadata_is_of_the_version_that_is_named(door):
    await register(door, "twice", seed=1)
    await register(door, "twice", seed=2)
    for path in ("/v2/models/twice/versions/1", "/v2/models/twice:1"):
        metadata = (await door.get(path)).json()
        assert (metadata["versions"], metadata["properties"]["model_id"]) == (["1", "2"], "twice:1")
        assert metadata["properties"]["stage"] == "validation"


@pytest.mark.parametrize("suffix", ["", "/ready"])
@pytest.mark.parametrize(
    ("model", "status"),
    [
        ("nobody", 404),
        ("churn/versions/9", 404),
        ("churn:9", 404),
        ("churn@nobody", 404),
        ("churn:x", 400),
        ("churn:1/versions/1", 400),
        ("a%2Fb", 404),
    ],
)
async def test_what_is_not_there_is_404_and_what_is_no_reference_400(door, model, status, suffix):
    answer = await door.get(f"/v2/models/{model}{suffix}")
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


@pytest.mark.parametrize("path", ["churn", "churn:1", "churn/versions/1"])
async def test_a_model_in_production_is_ready(door, path):
    answer = await door.get(f"/v2/models/{path}/ready")
    assert (answer.status_code, answer.json()) == (200, {"name": "churn", "ready": True})


async def test_a_version_that_its_first_request_would_load_is_ready(door):
    await register(door, "idle", seed=3)
    assert (await door.get("/v2/models/idle:1/ready")).json() == {"name": "idle", "ready": True}
    none_serves = await door.get("/v2/models/idle/ready")
    assert (none_serves.status_code, list(none_serves.json())) == (404, ["error"])


async def test_a_version_that_cannot_be_loaded_is_not_ready_and_says_why(client, settings):
    await register(client, "broken")
    for blob in (settings.base_path / "artifacts").rglob("*"):
        if blob.is_file():
            blob.write_bytes(b"rotten")
    row = {"name": "input", "shape": [1, 30], "datatype": "FP64", "data": [0] * 30}
    inferred = await client.post("/v2/models/broken:1/infer", json={"inputs": [row]})
    assert (inferred.status_code, list(inferred.json())) == (503, ["error"])
    answer = await client.get("/v2/models/broken:1/ready")
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("broken:1 is failed: ")
    assert (answer.json()["name"], answer.json()["ready"]) == ("broken", False)
    (entry,) = (await client.post("/v2/repository/index")).json()
    assert (entry["name"], entry["version"], entry["state"]) == ("broken", "1", "UNAVAILABLE")
    assert entry["reason"]


async def test_the_index_has_every_model_and_what_of_it_serves(door):
    await register(door, "unserved", seed=4)
    index = (await door.post("/v2/repository/index")).json()
    assert {"name": "churn", "version": "1", "state": "READY", "reason": ""} in index
    unserved = {
        "name": "unserved",
        "version": "",
        "state": "UNAVAILABLE",
        "reason": "no version of it serves",
    }
    assert unserved in index
    ready = (await door.post("/v2/repository/index", json={"ready": True})).json()
    assert {entry["state"] for entry in ready} == {"READY"}
    for wish in ([], {"ready": "yes"}):
        answer = await door.post("/v2/repository/index", json=wish)
        assert (answer.status_code, list(answer.json())) == (400, ["error"])


@pytest.mark.parametrize("verb", ["load", "unload"])
async def test_loading_models_one_by_one_is_501(door, verb):
    answer = await door.post(f"/v2/repository/models/churn/{verb}")
    assert (answer.status_code, list(answer.json())) == (501, ["error"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/churn/", 404),
        ("GET", "/v2/models/churn/infer", 405),
        ("DELETE", "/v2/models/churn", 405),
        ("POST", "/v2", 405),
        ("GET", "/v2/repository/index", 405),
    ],
)
async def test_what_is_no_operation_is_an_error_of_this_door(door, method, path, status):
    answer = await door.request(method, path)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert answer.headers["content-type"] == "application/json"
    assert ("allow" in answer.headers) == (status == 405)


async def test_a_path_that_only_looks_like_this_door_is_not_its(door):
    answer = await door.get("/v2beta")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_a_fault_of_ours_is_500_with_nothing_but_a_request_id(door, serving):
    with swapped(serving.state, "predictor", None):
        answer = await door.post("/v2/models/plane/infer", json=ROW, headers={"X-Request-Id": "my-request"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "Something went wrong here: my-request"}


async def test_a_database_that_is_away_is_503_and_inference_goes_on(door, serving):
    away = Database("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    with swapped(serving.state, "database", away):
        answer = await door.get("/v2/models/plane")
        assert (answer.status_code, list(answer.json())) == (503, ["error"])
        assert answer.headers["retry-after"]
        assert (await door.post("/v2/models/plane/infer", json=ROW)).status_code == 200
    await away.close()
