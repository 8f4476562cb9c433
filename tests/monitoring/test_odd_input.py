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

from app.core import clock
from app.core.ids import new_id
from tests.monitoring.making import profiled
from tests.monitoring.making import register as register_numbers

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
    assert (told["finding"], told["window"]["rows"]) == ("too_little_data", 0)
    assert (told["drift_score"], told["drift_score_interval"], told["feature_drifts"]) == (None, None, [])
    history = await shared_client.get(f"/api/models/{reference}/drift-history")
    assert history.json()["items"] == []
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
    assert "a sample of more than 505 rows" in told["recommendations"][0]


CHECKS = ("drift-check", "quality-check")


@pytest.fixture(scope="module")
async def plain(shared_client):
    """A version of four numbers, whose reference has no nulls."""
    reference, _ = await register_numbers(shared_client)
    return reference


def ask(client, reference, check, content, kind="application/json"):
    return client.post(f"/api/models/{reference}/{check}", content=content, headers={"Content-Type": kind})


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("[NaN, 1, 1, 1]", "x0 is not finite"),
        ("[1e400, 1, 1, 1]", "x0 is not finite"),
        ("[1, -Infinity, 1, 1]", "x1 is not finite"),
        (f"[1, 1, {10**400}, 1]", "x2 is too large"),
        ("[1, 1, 1, [1]]", "x3 has the wrong type"),
        ('{"x0": 1, "x1": 1, "x2": 1, "x3\\u0000": 1}', "x3 is missing"),
        ("[1, 1, 1]", "the row has the wrong length"),
        ("true", "the row is no row"),
        ("null", "the row is no row"),
    ],
)
async def test_a_row_that_is_none_is_told_by_its_column(shared_client, plain, check, row, problem):
    answer = await ask(shared_client, plain, check, f'{{"instances": [{row}]}}')
    if check == "drift-check":  # there is nothing left to judge
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/no-good-row")
        assert problem in answer.json()["detail"]
    else:
        assert answer.json()["quality_score"] == 0
        [told] = answer.json()["refusals"]
        assert f"{told['column'] or 'the row'} {told['problem']}" == problem


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("number", [1e308, -1e308, 1e-320, 2**63, 0])
async def test_numbers_at_the_ends_of_what_a_number_can_be_are_answered(shared_client, plain, check, number):
    rows = json.dumps({"instances": [[number] * 4] * 200})
    answer = await ask(shared_client, plain, check, rows)
    assert answer.status_code == 200, answer.text
    assert answer.json()["window"]["rows"] == 200


@pytest.mark.parametrize("check", [*CHECKS, "performance-check"])
@pytest.mark.parametrize(
    ("content", "kind", "problem"),
    [
        (b"", "application/json", "body: Field required"),
        (b"[]", "application/json", "body: must be a JSON object"),
        (b"null", "application/json", "body: must be a JSON object"),
        (b"{}", "text/plain", "body: must come as JSON, with `Content-Type: application/json`"),
        (b"<a/>", "application/xml", "body: must come as JSON, with `Content-Type: application/json`"),
    ],
)
async def test_a_body_that_is_no_order_is_refused_with_the_way_out(
    shared_client, plain, check, content, kind, problem
):
    answer = await ask(shared_client, plain, check, content, kind)
    assert (answer.status_code, answer.json()["detail"]) == (422, problem)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("content", "kind", "problem"),
    [
        (b"x0,x1,x2,x3\n1,1,1,1,9\n", "text/csv", "more cells than its first line has names"),
        (b"x0,x1,x2,x3\n1,1,1,1\n1,1,1,1,9\n", "text/csv", "Expected 4 fields in line 3, saw 5"),
        (b'{"instances": [[1, 1, 1, 1]]}', "application/json", "as the body itself"),
        (b"--b\r\n", "multipart/form-data; boundary=b", "as the body itself"),
        ("x0,x1,x2,x3\né,1,1,1\n".encode("latin-1"), "text/csv", "save it as UTF-8"),
        (b"x0,x1,x2,x3\n1,1,1,1\n", "text/csv; charset=latin-1", "read as UTF-8, not as 'latin-1'"),
        (b"x0;x1;x2;x3\n1;1;1;1\n", "text/csv", "it has the one column 'x0;x1;x2;x3': part the cells"),
        (b"x0\tx1\tx2\tx3\n1\t1\t1\t1\n", "text/csv", "part the cells of a CSV by commas"),
        (b"x0,x1,x2,y\n1,1,1,1\n", "text/csv", "wants: x3; it has x0, x1, x2, y"),
        (b"x0,x1,x2,x3,x3\n1,1,1,1,1\n", "text/csv", "names a column twice: x3"),
        (b"x0,x1,x2,x3\n", "text/csv", "holds no rows"),
    ],
)
async def test_a_file_that_is_no_table_is_refused_with_the_way_out(
    shared_client, plain, check, content, kind, problem
):
    answer = await ask(shared_client, plain, f"{check}/table", content, kind)
    assert answer.status_code == 422, answer.text
    assert problem in answer.json()["detail"]


async def test_values_whose_squares_are_no_numbers_are_no_values_of_a_series(shared_client, plain):
    name = plain.partition(":")[0]
    made = await shared_client.post(f"/api/models/{name}/regimes", json={"name": "s", "kind": "posted"})
    assert made.status_code == 201
    order = {"items": [{"at": "2026-01-01T00:00:00Z", "value": 1e300}]}
    answer = await shared_client.post(f"/api/models/{name}/regimes/s/values", json=order)
    assert answer.status_code == 422
    assert "items.0.value" in answer.json()["detail"]


async def test_a_reference_of_the_largest_numbers_is_one_like_any_other(shared_client):
    def rows(seed, count, factor):
        generator = np.random.default_rng(seed)
        return pd.DataFrame(
            {"wild": generator.choice([-factor, factor], count), "tame": generator.normal(size=count)}
        )

    frame = rows(1, ROWS, 1.0)
    model = HistGradientBoostingClassifier(max_iter=5).fit(frame, frame.tame > 0)
    answer = await shared_client.post(
        "/api/models",
        data={"metadata": json.dumps({"name": f"m-{new_id().hex}"})},
        files=[
            ("artifact", ("model.skops", skops.io.dumps(model))),
            ("reference", ("sample.csv", rows(1, ROWS, 1e308).to_csv(index=False).encode())),
        ],
    )
    assert answer.status_code == 201, answer.text
    reference = answer.json()["model_id"]
    await profiled(shared_client, reference)
    assert drifted(await check(shared_client, reference, rows(2, ROWS, 1e308))) == set()
    assert drifted(await check(shared_client, reference, rows(3, ROWS, 1.0))) == {"wild"}
    body = {"instances": json.loads(rows(4, ROWS, 1e308).to_json(orient="records"))}
    quality = await shared_client.post(f"/api/models/{reference}/quality-check", json=body)
    assert (quality.status_code, quality.json()["window"]["rows"]) == (200, ROWS)


@pytest.mark.parametrize(
    "since", ["2026-03-01T05:30:00+05:30", "2026-02-28T19:00:00-05:00", "2026-03-01T00:00:00Z"]
)
@pytest.mark.parametrize("kind", ["drift", "quality"])
async def test_a_window_is_told_in_utc_wherever_it_was_asked_for(shared_client, since, kind):
    reference = await register(shared_client)
    ends = {"since": since, "until": "2026-03-01T02:00:00+01:00"}
    answer = await shared_client.post(f"/api/models/{reference}/{kind}-check", json=ends)
    window = answer.json()["window"]
    assert (window["since"], window["until"]) == ("2026-03-01T00:00:00Z", "2026-03-01T01:00:00Z")


@pytest.mark.parametrize("more", [{}, {"until": "2095-01-01T00:00:00Z"}])
@pytest.mark.parametrize("kind", ["drift", "quality", "performance"])
async def test_a_window_that_has_not_begun_is_refused(shared_client, plain, kind, more):
    url = f"/api/models/{plain}/{kind}-check"
    refused = await shared_client.post(url, json={"since": "2090-01-01T00:00:00Z"} | more)
    assert refused.status_code == 422, refused.text
    assert "`since` lies in the future" in refused.json()["detail"]
    just_now = {"since": clock.now().isoformat()}
    assert (await shared_client.post(url, json=just_now)).status_code == 200
