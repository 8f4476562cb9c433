"""Signatures: written, read, compared (R1, R2) and shown to callers as JSON Schema (D1, S5)."""

import pytest

from app.runtimes.errors import BadSignature
from app.runtimes.openapi import example_row, predict_body_schema
from app.runtimes.rows import parse_rows
from app.runtimes.schema import Column, ColumnType, Signature, Task, breaks, tensor_columns

AGE = Column("age", ColumnType.INTEGER, minimum=18, maximum=90)
INCOME = Column("income", ColumnType.FLOAT, nullable=True)
CITY = Column("city", ColumnType.STRING, categories=("Bonn", "Köln"))
MEMBER = Column("member", ColumnType.BOOLEAN)
SIGNATURE = Signature((AGE, INCOME, CITY, MEMBER), Task.CLASSIFICATION, ColumnType.STRING, ("no", "yes"))


def test_a_signature_survives_being_written_and_read() -> None:
    assert Signature.from_json(SIGNATURE.to_json()) == SIGNATURE


def test_unknown_facts_are_left_out_of_the_json() -> None:
    assert INCOME.to_json() == {"name": "income", "type": "float", "nullable": True}


def test_every_wrong_field_of_a_signature_is_named_at_once() -> None:
    body = {
        "inputs": [
            {"name": "a", "type": "decimal"},
            {"name": "", "type": "float"},
            {"name": "b", "type": "float", "nullable": 1, "minimum": True, "categories": [1], "unit": "m"},
            "c",
        ],
        "task": "guessing",
        "classes": ["x", "x"],
        "shape": 3,
    }
    with pytest.raises(BadSignature) as refusal:
        Signature.from_json(body)
    assert set(refusal.value.problems) == {
        "inputs[0].type",
        "inputs[1].name",
        "inputs[2].nullable",
        "inputs[2].minimum",
        "inputs[2].categories",
        "inputs[2].unit",
        "inputs[3]",
        "task",
        "classes",
        "signature.shape",
    }


@pytest.mark.parametrize(
    "body", [None, [], "inputs", {}, {"inputs": [], "task": "regression"}, {"inputs": {}, "task": []}]
)
def test_what_is_no_signature_is_refused(body: object) -> None:
    with pytest.raises(BadSignature):
        Signature.from_json(body)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 600, 5, None])
def test_a_column_name_that_can_not_be_stored_is_refused(name: object) -> None:
    with pytest.raises(BadSignature) as refusal:
        Signature.from_json({"inputs": [{"name": name, "type": "float"}], "task": "regression"})
    assert "inputs[0].name" in refusal.value.problems


def test_a_column_name_twice_is_refused() -> None:
    column = {"name": "a", "type": "float"}
    with pytest.raises(BadSignature, match="there twice"):
        Signature.from_json({"inputs": [column, column], "task": "regression"})


def _with(
    *inputs: Column, task: Task = Task.CLASSIFICATION, classes: tuple[str, ...] = ("no", "yes")
) -> Signature:
    return Signature(inputs, task, ColumnType.STRING, classes)


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (
            _with(AGE, INCOME, CITY, MEMBER, Column("more", ColumnType.FLOAT)),
            "column more is new and required",
        ),
        (_with(AGE, INCOME, Column("city", ColumnType.FLOAT), MEMBER), "column city was string, now float"),
        (_with(AGE, Column("income", ColumnType.FLOAT), CITY, MEMBER), "column income no longer takes nulls"),
        (_with(INCOME, AGE, CITY, MEMBER), "the order of the columns changed"),
        (_with(AGE, INCOME, CITY, MEMBER, classes=("yes", "no")), "classes changed"),
        (_with(AGE, INCOME, CITY, MEMBER, task=Task.REGRESSION), "task changed"),
    ],
)
def test_what_a_caller_would_stumble_over_breaks_the_signature(new: Signature, reason: str) -> None:
    assert breaks(SIGNATURE, new) == [reason]


@pytest.mark.parametrize(
    "new",
    [
        SIGNATURE,
        _with(AGE, CITY, MEMBER),
        _with(Column("age", ColumnType.FLOAT), INCOME, CITY, MEMBER),
        _with(Column("age", ColumnType.INTEGER, nullable=True), INCOME, CITY, MEMBER),
    ],
)
def test_what_asks_less_of_callers_breaks_nothing(new: Signature) -> None:
    assert breaks(SIGNATURE, new) == []


def test_an_array_without_names_gets_numbered_columns() -> None:
    assert Signature(tensor_columns(3), Task.REGRESSION).names == ("x0", "x1", "x2")


def test_the_documented_example_is_a_row_that_the_model_takes() -> None:
    schema = predict_body_schema(SIGNATURE, max_rows=10)
    rows = parse_rows(schema["examples"][0], SIGNATURE, max_rows=10)
    assert rows.errors == {}
    assert example_row(SIGNATURE) == {"age": 54, "income": 0.5, "city": "Bonn", "member": True}


def test_the_documented_body_says_what_may_be_null() -> None:
    record = predict_body_schema(SIGNATURE, max_rows=10)["properties"]["dataframe_records"]["items"]
    assert record["properties"]["income"] == {"type": ["number", "null"]}
    assert record["properties"]["age"] == {"type": "integer"}
    assert record["required"] == ["age", "income", "city", "member"]
