"""D13, D1: inference in the Open Inference Protocol v2, every rule of it, with real models over HTTP."""

import asyncio
import time

import numpy as np
import pytest

from tests.inference.fitted import churn, plane
from tests.real_models import instances

CANCER = "/v2/models/cancer/infer"
CHURN = "/v2/models/churn/infer"
PLANE = "/v2/models/plane/infer"


def tensor(name, data, datatype="FP64", shape=None):
    return {
        "name": name,
        "shape": [len(data)] if shape is None else shape,
        "datatype": datatype,
        "data": data,
    }


def matrix(rows, name="input", datatype="FP64"):
    return tensor(name, rows, datatype, [len(rows), len(rows[0])])


def customers(**changes):
    """Two rows for the mixed model, a tensor for each column."""
    columns = {
        "age": tensor("age", [30, None], "INT64"),
        "spend": tensor("spend", [99.5, 120]),
        "member": tensor("member", [True, False], "BOOL"),
        "city": tensor("city", ["Oslo", "Tromsø"], "BYTES"),
    }
    return [columns[name] | changes.get(name, {}) for name in columns]


async def infer(door, path, inputs, **members):
    return await door.post(path, json={"inputs": inputs, **members})


async def answered(door, path, inputs, **members):
    answer = await infer(door, path, inputs, **members)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(door, path, inputs, **members):
    answer = await infer(door, path, inputs, **members)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    return answer.json()["error"]


def outputs(body):
    return {output["name"]: output for output in body["outputs"]}


async def test_an_answer_has_every_output_flat_in_row_major_order(door):
    body = await answered(door, CANCER, [matrix(instances(3))])
    native = await door.post("/api/models/cancer/predict", json={"instances": instances(3)})
    rows = native.json()["predictions"]
    assert (body["model_name"], body["model_version"]) == ("cancer", "1")
    assert [output["name"] for output in body["outputs"]] == ["predict", "predict_proba"]
    predict, proba = body["outputs"]
    assert (predict["datatype"], predict["shape"]) == ("INT64", [3])
    assert predict["data"] == [row["prediction"] for row in rows]
    assert (proba["datatype"], proba["shape"]) == ("FP64", [3, 2])
    assert proba["data"] == pytest.approx([p for row in rows for p in row["probabilities"].values()])


async def test_a_model_of_two_targets_answers_a_matrix(door):
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    (predict,) = (await answered(door, PLANE, [matrix(rows)]))["outputs"]
    assert predict["shape"] == [2, 2]
    assert predict["data"] == pytest.approx(plane().predict(rows).ravel().tolist())


async def test_mixed_columns_come_as_a_tensor_each_in_any_order(door):
    body = await answered(door, CHURN, customers())
    again = await answered(door, CHURN, list(reversed(customers())))
    assert outputs(body)["predict"] == outputs(again)["predict"]
    assert outputs(body)["predict"]["datatype"] == "BYTES"
    assert set(outputs(body)["predict"]["data"]) <= set(churn().model.classes_)


async def test_columns_of_numbers_may_come_one_by_one_as_well(door):
    columns = [tensor("x", [1, 4]), tensor("y", [2, 5], "INT8"), tensor("z", [3, 6], "FP32", [2, 1])]
    one_by_one = await answered(door, PLANE, columns)
    at_once = await answered(door, PLANE, [matrix([[1, 2, 3], [4, 5, 6]])])
    assert outputs(one_by_one) == outputs(at_once)


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]], ids=["flat", "nested"])
async def test_data_is_taken_flat_and_nested(door, data):
    body = await answered(door, PLANE, [tensor("input", data, shape=[2, 3])])
    assert outputs(body)["predict"]["shape"] == [2, 2]


@pytest.mark.parametrize(
    "datatype", [f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)]
)
async def test_every_datatype_of_whole_numbers_is_taken(door, datatype):
    await answered(door, PLANE, [matrix([[1, 2, 3]], datatype=datatype)])


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
async def test_every_datatype_of_fractions_is_taken(door, datatype):
    await answered(door, PLANE, [matrix([[1.5, 2, -3e4]], datatype=datatype)])


@pytest.mark.parametrize(
    ("datatype", "element"),
    [
        *((f"INT{bits}", 2 ** (bits - 1)) for bits in (8, 16, 32, 64)),
        *((f"INT{bits}", -(2 ** (bits - 1)) - 1) for bits in (8, 16, 32, 64)),
        *((f"UINT{bits}", 2**bits) for bits in (8, 16, 32, 64)),
        ("UINT8", -1),
        ("FP16", 65505),
        ("FP32", 3.5e38),
    ],
)
async def test_an_element_beyond_its_datatype_is_refused(door, datatype, element):
    error = await refused(door, PLANE, [matrix([[1, 2, 3], [4, element, 6]], datatype=datatype)])
    assert error.startswith(f"input 'input', index [1, 1] is out of range: expected {datatype}, got ")


@pytest.mark.parametrize(
    ("column", "data", "datatype", "got"),
    [
        ("age", [30, 1.5], "INT64", "1.5"),
        ("age", [30, True], "INT64", "true"),
        ("age", [30, "x"], "INT32", '"x"'),
        ("spend", [1, "9"], "FP64", '"9"'),
        ("spend", [1, False], "FP32", "false"),
        ("member", [True, 1], "BOOL", "1"),
        ("city", ["Oslo", 5], "BYTES", "5"),
        ("city", ["Oslo", ["a"]], "BYTES", "a list"),
    ],
)
async def test_an_element_of_another_type_is_named_with_its_input_and_index(
    door, column, data, datatype, got
):
    error = await refused(door, CHURN, customers(**{column: {"data": data, "datatype": datatype}}))
    assert error == f"input '{column}', index [1] has the wrong type: expected {datatype}, got {got}"


async def test_what_the_signature_refuses_is_named_with_its_input_and_index(door):
    null = await refused(door, CHURN, customers(spend={"data": [1.0, None]}))
    assert null == "input 'spend', index [1] is null: expected float, got null"
    fraction = await refused(door, CHURN, customers(age={"data": [30, 1.5], "datatype": "FP64"}))
    assert fraction == "input 'age', index [1] is not a whole number: expected integer or null, got 1.5"
    in_matrix = await refused(door, PLANE, [matrix([[1, 2, 3], [4, 5, None]])])
    assert in_matrix == "input 'input', index [1, 2] is null: expected float, got null"
    in_column = await refused(door, CHURN, customers(spend={"data": [None, 2], "shape": [2, 1]}))
    assert in_column.startswith("input 'spend', index [0, 0] is null")


async def test_whole_numbers_may_come_as_fractions_so_that_null_can_stand_among_them(door):
    as_fractions = customers(age={"data": [30.0, None], "datatype": "FP64"})
    assert outputs(await answered(door, CHURN, as_fractions)) == outputs(
        await answered(door, CHURN, customers())
    )


@pytest.mark.parametrize(
    ("shape", "data", "problem"),
    [
        ([2, 3], [1, 2, 3, 4, 5], "has 5 elements; the shape [2, 3] asks for 6"),
        ([2, 3], [[1, 2, 3], [4, 5]], "has nested data that is not of the shape [2, 3]"),
        ([3, 3], [[1, 2, 3], [4, 5, 6]], "has nested data that is not of the shape [3, 3]"),
        ([2, 3], [[1, 2, 3], 4], "has nested data that is not of the shape [2, 3]"),
        ([2, 2], [1, 2, 3, 4], "has the shape [2, 2]; one tensor for all columns has [rows, 3]"),
        ([3], [1, 2, 3], "has the shape [3]; one tensor for all columns has [rows, 3]"),
        ([1, 1, 3], [1, 2, 3], "has a shape of 3 sizes; [rows] and [rows, columns] are taken"),
        ([], [1], "has a shape of 0 sizes; [rows] and [rows, columns] are taken"),
        ([-1, 3], [1, 2, 3], "has no shape; it must be a list of whole numbers"),
        ([1.0, 3], [1, 2, 3], "has no shape; it must be a list of whole numbers"),
        ([True, 3], [1, 2, 3], "has no shape; it must be a list of whole numbers"),
        ([10**4000, 3], [1, 2, 3], "has no shape; it must be a list of whole numbers"),
        ("3", [1, 2, 3], "has no shape; it must be a list of whole numbers"),
        ([1, 3], "abc", "has no data; it must be a list, flat or nested"),
        ([1, 3], None, "has no data; it must be a list, flat or nested"),
    ],
)
async def test_a_shape_that_its_data_does_not_have_is_refused(door, shape, data, problem):
    error = await refused(door, PLANE, [tensor("input", data, shape=shape)])
    assert error.startswith(f"input 'input' {problem}")


async def test_a_request_without_rows_is_refused(door):
    assert "holds no row" in await refused(door, PLANE, [tensor("input", [], shape=[0, 3])])


@pytest.mark.parametrize("datatype", ["BF16", "fp64", "", None, 64, ["FP64"]])
async def test_an_unknown_datatype_is_refused(door, datatype):
    error = await refused(door, PLANE, [matrix([[1, 2, 3]]) | {"datatype": datatype}])
    assert error.startswith("input 'input' has no known datatype; known are INT8, ")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"city": {"datatype": "INT64"}}, "input 'city', index [0] has the wrong type"),
        ({"member": {"datatype": "INT8", "data": [1, 0]}}, "input 'member' has the datatype INT8; column 'member'"),
        ({"age": {"datatype": "BYTES", "data": ["1", "2"]}}, "input 'age' has the datatype BYTES; column 'age'"),
        ({"age": {"data": [1, 2, 3], "shape": [3]}}, "input 'spend' has the shape [2]; here a column has [3]"),
        ({"age": {"data": [1, 2, 3, 4], "shape": [2, 2]}}, "input 'age' has the shape [2, 2]; here a column has [2]"),
        ({"age": {"name": "agee"}}, "input 'agee' is no input of this model; it takes 'age', 'spend'"),
        ({"age": {"name": "city", "datatype": "BYTES", "data": ["a", "b"]}}, "input 'city' is there twice"),
    ],
)  # fmt: skip
async def test_a_tensor_that_is_not_what_its_column_takes_is_refused(door, changes, problem):
    assert (await refused(door, CHURN, customers(**changes))).startswith(problem)


async def test_a_long_name_is_cut_where_a_refusal_repeats_it(door):
    error = await refused(door, PLANE, [matrix([[1, 2]], name="n" * 1_000_000)])
    assert len(error) < 300


async def test_a_missing_input_is_named(door):
    assert await refused(door, CHURN, customers()[1:]) == "input 'age' is missing; the request lacks 'age'"


async def test_one_tensor_for_mixed_columns_is_refused(door):
    error = await refused(door, CHURN, [matrix([[1, 2, 3, 4]])])
    assert error.startswith("input 'input' has the datatype FP64; column 'member' takes BOOL")


@pytest.mark.parametrize("inputs", [None, [], {}, "x", [1], [{}], [{"name": 1}]])
async def test_inputs_that_are_no_tensors_are_refused(door, inputs):
    assert (await refused(door, PLANE, inputs)).startswith("inputs")


async def test_only_the_outputs_that_were_asked_for_come_back_in_that_order(door):
    one = await answered(door, CANCER, [matrix(instances(2))], outputs=[{"name": "predict_proba"}])
    both = [{"name": "predict_proba", "parameters": {"binary_data": False}}, {"name": "predict"}]
    two = await answered(door, CANCER, [matrix(instances(2))], outputs=both)
    none = await answered(door, CANCER, [matrix(instances(2))], outputs=[])
    assert [list(outputs(body)) for body in (one, two, none)] == [
        ["predict_proba"],
        ["predict_proba", "predict"],
        ["predict", "predict_proba"],
    ]


async def test_an_output_that_the_model_does_not_give_is_refused(door):
    error = await refused(door, PLANE, [matrix([[1, 2, 3]])], outputs=[{"name": "predict_proba"}])
    assert error == "the model gives no output 'predict_proba'; it gives 'predict'"


@pytest.mark.parametrize("wish", ["predict", ["predict"], [{}], [{"name": 1}], [{"name": "predict"}] * 2])
async def test_outputs_that_name_nothing_are_refused(door, wish):
    assert (await refused(door, PLANE, [matrix([[1, 2, 3]])], outputs=wish)).startswith("outputs")


@pytest.mark.parametrize("given", ["a", "", '7d5e… " \\ 💡'])
async def test_a_given_id_comes_back(door, given):
    assert (await answered(door, PLANE, [matrix([[1, 2, 3]])], id=given))["id"] == given


async def test_an_id_that_was_not_given_is_not_made_up(door):
    assert "id" not in await answered(door, PLANE, [matrix([[1, 2, 3]])])


@pytest.mark.parametrize("given", [7, ["a"], "x" * 257, "nul\0"])
async def test_an_id_that_is_no_text_is_refused(door, given):
    assert (await refused(door, PLANE, [matrix([[1, 2, 3]])], id=given)).startswith("id: ")


async def test_a_version_is_named_in_the_path_or_in_the_reference(door):
    for path in (
        "/v2/models/plane/versions/1/infer",
        "/v2/models/plane:1/infer",
        "/v2/models/plane/versions/1.0.0/infer",
    ):
        body = await answered(door, path, [matrix([[1, 2, 3]])])
        assert (body["model_name"], body["model_version"]) == ("plane", "1")
        assert "revision" not in body["parameters"]
    assert (await answered(door, PLANE, [matrix([[1, 2, 3]])]))["parameters"]["revision"] == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/nobody/infer", 404),
        ("/v2/models/plane/versions/99/infer", 404),
        ("/v2/models/plane@nobody/infer", 404),
        ("/v2/models/plane/versions/new/infer", 400),
        ("/v2/models/plane:1/versions/1/infer", 400),
    ],
)
async def test_an_unknown_version_is_404_and_an_unreadable_one_400(door, path, status):
    answer = await infer(door, path, [matrix([[1, 2, 3]])])
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


async def test_prediction_ids_are_logged_and_take_feedback(door):
    body = await answered(
        door, CANCER, [matrix(instances(2))], id="the-request", parameters={"entity_id": "e-1"}
    )
    ids = body["parameters"]["prediction_ids"].split(",")
    items = [{"prediction_id": identifier, "actual": 1} for identifier in ids]
    feedback = await door.post("/api/models/cancer/feedback", json={"items": items})
    assert feedback.status_code == 200, feedback.text
    shown = await logged(door, ids[1])
    assert shown["prediction"] == outputs(body)["predict"]["data"][1]
    assert (shown["entity_id"], shown["model_id"]) == ("e-1", "cancer:1")
    assert shown["request_id"] == "the-request"


async def logged(door, identifier):
    """The log's record of a prediction, once it has been shipped."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        answer = await door.get(f"/api/models/cancer/predictions/{identifier}")
        if answer.status_code == 200:
            return answer.json()
        await asyncio.sleep(0.1)
    raise AssertionError(answer.text)


async def test_the_sticky_key_may_come_as_a_header(door):
    body = {"inputs": [matrix(instances(1))]}
    answer = await door.post(CANCER, json=body, headers={"X-Entity-Id": "Ålesund".encode()})
    assert (await logged(door, answer.json()["parameters"]["prediction_ids"]))["entity_id"] == "Ålesund"
    broken = await door.post(CANCER, json=body, headers={"X-Entity-Id": b"\xff"})
    assert (broken.status_code, broken.json()) == (400, {"error": "X-Entity-Id: must be UTF-8"})


@pytest.mark.parametrize("parameters", [[], "x", {"entity_id": ["a"]}])
async def test_parameters_that_cannot_be_read_are_refused(door, parameters):
    await refused(door, PLANE, [matrix([[1, 2, 3]])], parameters=parameters)


async def test_unknown_parameters_are_passed_over(door):
    inputs = [matrix([[1, 2, 3]]) | {"parameters": {"content_type": "np"}}]
    await answered(door, PLANE, inputs, parameters={"priority": 1})


async def test_a_row_that_the_model_cannot_score_refuses_the_request_without_its_data(door):
    error = await refused(door, CHURN, customers(city={"data": ["Oslo", "Atlantis"]}))
    assert error.startswith("the model could not score row 1;")
    assert "Atlantis" not in error
    alone = await refused(door, CHURN, customers(city={"data": ["Atlantis", "Lemuria"]}))
    assert alone.startswith("the model could not score row 0, 1;")


async def test_a_large_request_is_read_elsewhere_and_answered_alike(door):
    rows = np.random.default_rng(7).normal(size=(25_000, 3)).tolist()
    body = await answered(door, PLANE, [matrix(rows)], id="large", outputs=[{"name": "predict"}])
    (predict,) = body["outputs"]
    assert (body["id"], predict["shape"]) == ("large", [25_000, 2])
    assert predict["data"] == pytest.approx(plane().predict(rows).ravel().tolist())
    assert len(set(body["parameters"]["prediction_ids"].split(","))) == 25_000
    rows[-1][2] = None
    error = await refused(door, PLANE, [matrix(rows)])
    assert error == "input 'input', index [24999, 2] is null: expected float, got null"


async def test_more_rows_than_a_call_may_carry_are_413(door):
    answer = await infer(door, PLANE, [tensor("input", [0] * 300_003, "INT8", [100_001, 3])])
    assert (answer.status_code, list(answer.json())) == (413, ["error"])


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"1", b'{"inputs": [NaN]}', b'{"inputs": "\\ud800"}', b"\xff"]
)
async def test_a_body_that_is_no_request_is_400(door, body):
    answer = await door.post(PLANE, content=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


async def test_a_number_beyond_float64_is_refused(door):
    body = b'{"inputs": [{"name": "i", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 1e400]}]}'
    answer = await door.post(PLANE, content=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


async def test_binary_tensors_are_501(door):
    headers = {"Inference-Header-Content-Length": "2"}
    answer = await door.post(PLANE, content=b"{}\0\0", headers=headers)
    assert (answer.status_code, list(answer.json())) == (501, ["error"])
