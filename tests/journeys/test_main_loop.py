"""The main loop (R1, R5, D1, D2, D11, M5, S4), told once over HTTP to a service that a supervisor has started."""

import re
import shutil
import tempfile
from pathlib import Path

import httpx
import pytest

from tests.faults.harness import WHOLE, eventually, service
from tests.real_models import bring_to_production, data, instances


@pytest.fixture
def base_path():
    path = Path(tempfile.mkdtemp(prefix="switchyard-"))
    yield path
    shutil.rmtree(path)


async def ask(client, method, path, **options):
    answer = await client.request(method, path, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def predict(client, count):
    answer = await ask(client, "POST", "/api/models/bc/predict", json={"instances": instances(count)})
    return answer, [each["prediction_id"] for each in answer["predictions"]]


async def label(client, ids, actual):
    items = [{"prediction_id": each, "actual": actual} for each in ids]
    tally = await ask(client, "POST", "/api/models/bc/feedback", json={"items": items})
    assert tally["refused"] == []
    return {name: count for name, count in tally.items() if count and name != "refused"}


async def logged(client):
    """Every prediction in the log, by its id."""
    page = await ask(client, "GET", "/api/models/bc/predictions", params={"limit": 200})
    return {row["prediction_id"]: row for row in page["items"]}


async def counted(client):
    """How many predictions of each version the metrics tell of."""
    found = re.findall(
        r'^model_predictions_total{model_version="(.+?)",prediction_class=".+?"} (\S+)$',
        (await client.get("/metrics")).text,
        re.MULTILINE,
    )
    versions = {version for version, _ in found}
    return {each: sum(float(count) for version, count in found if version == each) for each in versions}


async def test_a_model_is_registered_promoted_asked_labelled_replaced_and_rolled_back(base_path):
    with service(base_path, command=WHOLE, database=None) as running:
        address = f"http://127.0.0.1:{running.port}"
        async with httpx.AsyncClient(base_url=address, timeout=90) as client:
            await bring_to_production(client, "bc", "logistic")
            first, ids = await predict(client, 3)
            assert (first["model_id"], first["revision"]) == ("bc:1", 1)
            assert [each["prediction"] for each in first["predictions"]] == data()[3][:3].tolist()

            early = await label(client, ids[:1], 1)
            assert sum(early.values()) == 1

            async def is_shipped():
                return set(ids) <= set(await logged(client))

            await eventually(is_shipped, within=10)
            assert await label(client, ids[1:2], 1) == {"accepted": 1}
            assert await label(client, ids[1:2], 1) == {"unchanged": 1}
            assert await label(client, ids[1:2], 0) == {"corrected": 1}

            await bring_to_production(client, "bc", "boosting")
            second, more = await predict(client, 2)
            assert (second["model_id"], second["revision"]) == ("bc:2", 2)

            back = await ask(client, "POST", "/api/models/bc/rollback", json={"reason": "worse"})
            assert (back["kind"], back["phase"], back["model_id"]) == ("rollback", "live", "bc:1")
            third, most = await predict(client, 1)
            assert (third["model_id"], third["revision"]) == ("bc:1", 3)

            assert await counted(client) == {"bc:1": 4, "bc:2": 2}

            async def are_all_shipped():
                return len(await logged(client)) == 6

            await eventually(are_all_shipped, within=10)
            log = await logged(client)
            assert {each: log[each]["model_id"] for each in [*ids, *more, *most]} == {
                **dict.fromkeys(ids, "bc:1"),
                **dict.fromkeys(more, "bc:2"),
                **dict.fromkeys(most, "bc:1"),
            }
            outcomes = [log[each]["outcome"] and log[each]["outcome"]["actual"] for each in ids]
            assert outcomes == [1, 0, None]

            async def audit_is_sealed():
                verdict = await ask(client, "GET", "/api/system/audit/verify")
                assert verdict["intact"], verdict
                return verdict["unsealed"] == 0 and verdict["facts"] >= 8

            await eventually(audit_is_sealed, within=10)
        assert running.stop() == 0
