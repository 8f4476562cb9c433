"""M2, M9 over HTTP: windows, columns and references that are odd get a clear answer, neither an error nor a false alarm."""

import io
import json

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from app.core.ids import new_id
from tests.monitoring.making import profiled

ROWS = 1500


def drawn(seed, rows=ROWS):
    """A number, one that never varies, one that is never there, and a label."""
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "number": generator.normal(size=rows).round(4),
            "constant": 7.0,
            "empty": np.full(rows, np.nan),
            "label": generator.choice(["red", "green", "blue"], rows),
        }
    )


async def register(client, rows=ROWS):
    frame = drawn(1)
    encode = ColumnTransformer(
        [("label", OneHotEncoder(sparse_output=False), ["label"])], remainder="passthrough"
    )
    known = frame.assign(empty=frame.number.shift(1))  # no model can be trained on what is never there
    model = make_pipeline(encode, HistGradientBoostingClassifier(max_iter=5)).fit(known, frame.number > 0)
    answer = await client.post(
        "/api/models",
        data={"metadata": json.dumps({"name": f"m-{new_id().hex}"})},
        files=[
            ("artifact", ("model.skops", io.BytesIO(skops.io.dumps(model)).getvalue())),
            ("reference", ("sample.csv", frame.head(rows).to_csv(index=False).encode())),
        ],
    )
    assert answer.status_code == 201, answer.text
    await profiled(client, answer.json()["model_id"])
    return answer.json()["model_id"]


async def check(client, reference, frame):
    rows = json.loads(frame.to_json(orient="records"))
    return await client.post(f"/api/models/{reference}/drift-check", json={"instances": rows})


def drifted(answer):
    assert answer.status_code == 200, answer.text
    return {each["feature"] for each in answer.json()["feature_drifts"] if each["drifted"]}


async def test_a_window_without_rows_is_too_little(shared_client):
    reference = await register(shared_client)
    answer = await shared_client.post(f"/api/models/{reference}/drift-check", json={"window_hours": 1})
    assert drifted(answer) == set()
    told = answer.json()
    assert (told["finding"], told["window"]["rows"], told["drift_score"]) == ("too_little_data", 0, 0)
    assert "more are needed" in told["recommendations"][0]


async def test_columns_that_never_vary_and_are_never_there_are_silent(shared_client):
    reference = await register(shared_client)
    assert drifted(await check(shared_client, reference, drawn(2))) == set()


@pytest.mark.parametrize(
    ("column", "value"),
    [("constant", 8.0), ("empty", 1.0), ("number", None), ("label", None), ("label", "violet")],
    ids=["constant changes", "empty appears", "number vanishes", "label vanishes", "new label"],
)
async def test_a_column_that_vanishes_appears_or_changes_is_found_by_name(shared_client, column, value):
    reference = await register(shared_client)
    frame = drawn(3).assign(**{column: [value] * ROWS})
    answer = await check(shared_client, reference, frame)
    if answer.status_code == 422:  # the reference had no nulls there, so the model takes none
        assert column in answer.json()["detail"]
    else:
        assert drifted(answer) == {column}


@pytest.mark.parametrize(
    ("column", "value"),
    [("number", "eleven"), ("label", 5), ("label", True), ("number", {"a": 1}), ("constant", [7.0])],
)
async def test_values_of_another_type_are_refused_by_column(shared_client, column, value):
    reference = await register(shared_client)
    rows = json.loads(drawn(4, 20).to_json(orient="records"))
    bad = [row | {column: value} for row in rows]
    refused = await shared_client.post(f"/api/models/{reference}/drift-check", json={"instances": bad})
    assert refused.status_code == 422, refused.text
    assert column in refused.json()["detail"]
    mixed = await shared_client.post(
        f"/api/models/{reference}/drift-check", json={"instances": rows + bad[:3]}
    )
    assert drifted(mixed) == set()
    assert mixed.json()["window"] | {"since": 0, "until": 0} == {
        "since": 0, "until": 0, "rows": 20, "buckets": None, "rows_refused": 3,
    }  # fmt: skip


async def test_a_column_that_is_gone_altogether_is_named(shared_client):
    reference = await register(shared_client)
    without = drawn(5).drop(columns="number")
    answer = await check(shared_client, reference, without)
    assert answer.status_code == 422, answer.text
    assert "number" in answer.json()["detail"]
    table = await shared_client.post(
        f"/api/models/{reference}/drift-check/table",
        content=without.to_csv(index=False),
        headers={"Content-Type": "text/csv"},
    )
    assert table.status_code == 422
    assert "lacks columns" in table.json()["detail"]


async def test_a_column_that_nobody_knows_changes_nothing(shared_client):
    reference = await register(shared_client)
    answer = await shared_client.post(
        f"/api/models/{reference}/drift-check/table",
        content=drawn(6).assign(stranger=1).to_csv(index=False),
        headers={"Content-Type": "text/csv"},
    )
    assert drifted(answer) == set()


async def test_a_reference_of_ten_rows_says_that_it_is_too_small(shared_client):
    reference = await register(shared_client, rows=10)
    answer = await check(shared_client, reference, drawn(7))
    assert drifted(answer) == set()
    told = answer.json()
    assert (told["finding"], told["rows_needed"], told["reference"]["rows"]) == ("too_little_data", None, 10)
    assert "larger sample" in told["recommendations"][0]
