"""M11: drift that only one group of a column shows is found in that group; odd orders are refused with the way out."""

import json

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from app.core.access import Role
from app.core.ids import new_id
from app.registry.queries import get_named_version
from tests.conftest import client_of, running
from tests.faults.harness import eventually
from tests.monitoring.making import plan_of, profiled
from tests.monitoring.making import register as register_numbers

SITES = ["north", "south", "west"]


def drawn(seed, rows, *, shift=None):
    """Two measurements at three sites; at one of them the first one may be shifted."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "site": generator.choice(SITES, rows),
            "load": generator.normal(size=rows).round(4),
            "flow": generator.normal(size=rows).round(4),
        }
    )
    frame.loc[frame.site == shift, "load"] += 0.8
    return frame


@pytest.fixture
async def house(shared_client):
    return shared_client, await register(shared_client)


async def register(client):
    frame = drawn(1, 4000)
    encode = ColumnTransformer(
        [("site", OneHotEncoder(sparse_output=False), ["site"])], remainder="passthrough"
    )
    model = make_pipeline(encode, LogisticRegression()).fit(frame, frame.load > 0)
    answer = await client.post(
        "/api/models",
        data={"metadata": json.dumps({"name": f"m-{new_id().hex}"})},
        files=[
            ("artifact", ("model.skops", skops.io.dumps(model))),
            ("reference", ("sample.csv", frame.to_csv(index=False).encode())),
        ],
    )
    assert answer.status_code == 201, answer.text
    reference = answer.json()["model_id"]
    await profiled(client, reference)
    for verb in ("validate", "promote"):
        done = await client.post(f"/api/models/{reference}/{verb}", json={"reason": "test"})
        assert done.status_code == 200, done.text
    return reference


async def ask(client, reference, frame):
    """Predictions for the rows, once they are in the log."""
    name = reference.partition(":")[0]
    rows = json.loads(frame.to_json(orient="records"))
    answer = await client.post(f"/api/models/{name}/predict", json={"instances": rows})
    assert answer.status_code == 200, answer.text
    last = answer.json()["predictions"][-1]["prediction_id"]

    async def is_logged():
        return (await client.get(f"/api/models/{name}/predictions/{last}")).is_success

    await eventually(is_logged, within=60)


async def check(client, reference, **order):
    answer = await client.post(f"/api/models/{reference}/drift-check", json={"window_hours": 1, **order})
    assert answer.status_code == 200, answer.text
    return answer.json()["slices"]


async def test_drift_at_one_site_is_found_there_and_nowhere_else(house):
    client, reference = house
    await ask(client, reference, drawn(2, 3000, shift="south"))
    told = await check(client, reference, slice_by="site")
    assert (told["column"], told["rows"]) == ("site", 3000)
    found = {each["group"]: each["finding"] for each in told["groups"]}
    assert set(found) == set(SITES)
    assert {site for site, finding in found.items() if finding == "drift"} == {"south"}
    [south] = [each for each in told["groups"] if each["group"] == "south"]
    assert south["features_to_look_at"] == ["load"]
    assert south["drift_score_interval"][0] > 0.1
    assert sum(each["reference_rows"] for each in told["groups"]) == 4000
    quarters = (await check(client, reference, slice_by="flow"))["groups"]
    assert [each["reference_rows"] for each in quarters] == [1000] * 4
    assert sum(each["rows"] for each in quarters) == 3000
    assert await check(client, reference) is None


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ({"slice_by": "colour"}, "is no column of this version; its columns are site, load, flow"),
        ({"slice_by": "site", "instances": [["north", 0.0, 0.0]]}, "leave out `instances`"),
    ],
)
async def test_what_is_no_slice_is_refused_with_the_way_out(house, order, problem):
    client, reference = house
    answer = await client.post(f"/api/models/{reference}/drift-check", json=order)
    assert answer.status_code == 422, answer.text
    assert problem in answer.json()["detail"]


async def test_a_version_without_a_sample_has_no_groups_to_compare_with(settings):
    async with running(settings) as service, client_of(service) as client:
        reference, _ = await register_numbers(client, with_sample=False)
        async with service.state.database.reads() as session:
            version = await get_named_version(session, reference)
        await plan_of(service.state.database, version)
        answer = await client.post(f"/api/models/{reference}/drift-check", json={"slice_by": "x0"})
    assert answer.status_code == 422, answer.text
    assert "register a version with one" in answer.json()["detail"]


async def test_the_labels_of_a_masked_column_are_told_to_admins_only(client, key_of):
    reference = await register(client)
    name = reference.partition(":")[0]
    edited = await client.patch(f"/api/models/{name}", json={"sensitive_columns": ["site"]})
    assert edited.status_code == 200, edited.text
    rows = json.loads(drawn(3, 300).to_json(orient="records"))
    address = f"/api/models/{reference}/drift-check"
    admin, operator = await key_of(Role.ADMIN), await key_of(Role.OPERATOR)
    told, masked = [
        (await client.post(address, json={"instances": rows}, headers=headers)).json()
        for headers in (admin, operator)
    ]
    assert labels_of(told, "site") == {*SITES}
    assert labels_of(masked, "site") == {None}
    assert {group["high"] for group in groups_of(masked, "load")} > {None}


def groups_of(answer, feature):
    [groups] = [each["groups"] for each in answer["feature_drifts"] if each["feature"] == feature]
    return groups


def labels_of(answer, feature):
    return {group["label"] for group in groups_of(answer, feature)}
