"""D13, D1: `/invocations` in every form of body, as clients of MLflow's scoring server send them."""

import numpy as np
import pytest

from tests.inference.fitted import churn, plane
from tests.real_models import csv_of, data, instances

COLUMNS = ["age", "spend", "member", "city"]
ROWS = [[30, 99.5, True, "Oslo"], [None, 120, False, "Tromsø"]]
RECORDS = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
BY_COLUMN = {name: [row[i] for row in ROWS] for i, name in enumerate(COLUMNS)}


async def invoke(door, body, model="churn"):
    return await door.post("/invocations", params={"model": model}, json=body)


async def invoke_csv(door, text, model="churn", content_type="text/csv"):
    headers = {"Content-Type": content_type}
    content = text if isinstance(text, bytes) else text.encode()
    return await door.post("/invocations", params={"model": model}, content=content, headers=headers)


def refusal(answer, status=400, code="BAD_REQUEST"):
    assert (answer.status_code, list(answer.json())) == (status, ["error_code", "message"]), answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error_code"] == code
    return answer.json()["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": COLUMNS, "data": ROWS}},
        {"dataframe_split": {"columns": COLUMNS, "data": ROWS, "index": [7, 8]}},
        {"dataframe_records": RECORDS},
        {"instances": ROWS},
        {"instances": RECORDS},
        {"inputs": BY_COLUMN},
        {"inputs": ROWS},
        {"instances": ROWS, "params": {}},
        {"instances": ROWS, "params": {"environment": "production", "temperature": 1}},
        {"instances": ROWS, "params": None},
    ],
    ids="+".join,
)
async def test_every_form_of_json_is_answered_alike(door, body):
    answer = await invoke(door, body)
    assert answer.status_code == 200, answer.text
    native = (await door.post("/api/models/churn/predict", json={"instances": ROWS})).json()
    assert answer.json() == {"predictions": [row["prediction"] for row in native["predictions"]]}


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("content_type", ["text/csv", "Text/CSV; charset=utf-8"])
async def test_csv_is_answered_as_json_is(door, ending, content_type):
    lines = ["age,spend,member,city", "30,99.5,true,Oslo", "", ',120,False,"Tromsø"', ""]
    answer = await invoke_csv(door, ending.join(lines), content_type=content_type)
    assert answer.status_code == 200, answer.text
    assert answer.json() == (await invoke(door, {"instances": ROWS})).json()


async def test_csv_as_pandas_writes_it_is_answered(door):
    rows = churn().rows
    answer = await invoke_csv(door, csv_of(rows))
    assert answer.json()["predictions"] == churn().predict(rows).tolist()
    _, _, features, _ = data()
    cancer = await invoke_csv(door, csv_of(features), model="cancer")
    native = await door.post("/api/models/cancer/predict", json={"instances": features.to_numpy().tolist()})
    assert cancer.json()["predictions"] == [row["prediction"] for row in native.json()["predictions"]]


async def test_columns_of_a_csv_that_the_model_does_not_take_are_passed_over(door):
    with_index = churn().rows[:3].to_csv()
    assert (await invoke_csv(door, with_index)).status_code == 200


@pytest.mark.parametrize("ages", [[30, None], [30.0, None], [None, None]])
async def test_a_column_of_integers_takes_nulls_and_the_fractions_that_pandas_makes_of_them(door, ages):
    rows = [[age, *row[1:]] for age, row in zip(ages, ROWS, strict=True)]
    split = {"columns": COLUMNS, "data": rows}
    assert (await invoke(door, {"dataframe_split": split})).status_code == 200
    text = "\n".join(",".join("" if cell is None else str(cell) for cell in row) for row in [COLUMNS, *rows])
    assert (await invoke_csv(door, text)).status_code == 200


async def test_a_matrix_of_answers_comes_row_by_row(door):
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    answer = await invoke(door, {"inputs": rows}, model="plane")
    assert np.allclose(answer.json()["predictions"], plane().predict(rows))


async def test_a_large_table_is_read_elsewhere_and_answered_alike(door):
    rows = np.random.default_rng(7).normal(size=(30_000, 3)).tolist()
    answer = await invoke(door, {"instances": rows}, model="plane")
    assert np.allclose(answer.json()["predictions"], plane().predict(rows))
    text = "x,y,z\n" + "\n".join(",".join(map(repr, row)) for row in rows)
    assert (await invoke_csv(door, text, model="plane")).json() == answer.json()
    rows[20_000][1] = None
    message = refusal(await invoke(door, {"instances": rows}, model="plane"))
    assert message == "row 20000, column 'y' is null: expected float"


@pytest.mark.parametrize(
    "body", [{}, {"params": {}}, [], 1, {"instances": ROWS, "inputs": ROWS}, {"data": ROWS}]
)
async def test_a_body_without_exactly_one_form_is_refused(door, body):
    assert "exactly one of" in refusal(await invoke(door, body))


@pytest.mark.parametrize(
    "body",
    [
        {"instances": []},
        {"instances": "x"},
        {"instances": ROWS, "params": []},
        {"instances": ROWS, "params": {"entity_id": ""}},
        {"inputs": {"age": [1, 2], "spend": [1]}},
        {"dataframe_records": ROWS},
        {"dataframe_split": {"columns": COLUMNS}},
        {"dataframe_split": {"columns": COLUMNS, "data": [[1]]}},
    ],
)
async def test_a_table_that_is_none_is_refused(door, body):
    refusal(await invoke(door, body))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"instances": [[NaN]]}'])
async def test_a_body_that_is_not_json_is_refused(door, body):
    refusal(await door.post("/invocations?model=churn", content=body))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "csv: needs a line of column names"),
        (b"\xff\n1", "csv: must be UTF-8"),
        (b"age,age\n1,2", "csv: names a column twice"),
        (b"age,spend,member,city\n1,2,true", "csv: row 0 has 3 values, the header 4"),
        (b'age,spend,member,city\n1,2,true,"Oslo', "csv: unexpected end of data in line 2"),
        (b"age,spend,member,city\n", "inputs.age holds no row; send at least one"),
        (b"spend,member,city\n2,true,Oslo", "row 0, column 'age' is missing: expected integer or null"),
        (b"age,spend,member,city\n1,secret,true,Oslo", "row 0, column 'spend' has the wrong type: expected float"),
        (b"age,spend,member,city\n1,1_0,true,Oslo", "row 0, column 'spend' has the wrong type: expected float"),
        (b"age,spend,member,city\n1,inf,true,Oslo", "row 0, column 'spend' is not finite: expected float"),
        (b"age,spend,member,city\n1,,true,Oslo", "row 0, column 'spend' is null: expected float"),
        (b"age,spend,member,city\n1.5,1,true,Oslo", "row 0, column 'age' is not a whole number: expected integer or null"),
        (b"age,spend,member,city\n1,1,maybe,Oslo", "row 0, column 'member' has the wrong type: expected boolean"),
    ],
)  # fmt: skip
async def test_a_csv_that_does_not_fit_is_refused(door, text, message):
    assert refusal(await invoke_csv(door, text)) == message


async def test_one_bad_row_refuses_the_request_and_its_data_is_not_repeated(door):
    rows = [*RECORDS, RECORDS[0] | {"spend": "secret"}, RECORDS[0] | {"city": None}]
    message = refusal(await invoke(door, {"dataframe_records": rows}))
    assert message == "row 2, column 'spend' has the wrong type: expected float; 2 rows are bad"
    no_row = refusal(await invoke(door, {"instances": [*ROWS, "secret"]}))
    assert no_row == "row 2 is no row: expected a list or an object"


async def test_what_a_model_says_of_a_row_is_not_repeated(door):
    for rows in ([*RECORDS, RECORDS[0] | {"city": "secret"}], [RECORDS[0] | {"city": "secret"}]):
        message = refusal(await invoke(door, {"dataframe_records": rows}))
        assert message.startswith(f"the model could not score row {len(rows) - 1};")
        assert "secret" not in message


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_another_media_type_is_415(door, media_type):
    answer = await invoke_csv(door, "x", content_type=media_type)
    assert refusal(answer, 415) == "Content-Type must be one of application/json, text/csv"


async def test_the_model_is_named_by_any_reference(door):
    for reference in ("cancer", "cancer:1", "cancer:1.0.0"):
        assert (await invoke(door, {"instances": instances(1)}, model=reference)).status_code == 200
    assert "cancer:9" in refusal(
        await invoke(door, {"instances": ROWS}, "cancer:9"), 404, "RESOURCE_DOES_NOT_EXIST"
    )
    refusal(await invoke(door, {"instances": ROWS}, "a/b"))


async def test_without_a_name_several_models_in_production_are_400_and_named(door):
    message = refusal(await door.post("/invocations", json={"instances": ROWS}))
    assert message.endswith("name one as ?model=: 'cancer', 'churn', 'plane'")


async def test_without_a_name_the_only_model_in_production_answers(client):
    body = {"instances": [[1, 2, 3]]}
    none = await client.post("/invocations", json=body)
    assert refusal(none, 404, "RESOURCE_DOES_NOT_EXIST").startswith("no model is in production")
    await plane().bring_to_production(client, "plane")
    answer = await client.post("/invocations", json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/invocations", 405, "BAD_REQUEST"),
        ("POST", "/invocations/churn", 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/ping", 405, "BAD_REQUEST"),
    ],
)
async def test_what_is_no_operation_is_an_error_of_this_door(door, method, path, status, code):
    refusal(await door.request(method, path), status, code)
