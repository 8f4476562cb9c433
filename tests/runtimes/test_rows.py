"""Rows of a predict body: every form, one error per bad column, a bad row harming no other (D1, D13)."""

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import Refusal
from app.runtimes.errors import EmptyBatch, MisshapenPayload, TooManyRows, UnknownPayload
from app.runtimes.rows import MAX_DETAILED_ROWS, Rows, merge_rows, parse_rows
from app.runtimes.schema import Column, ColumnType, Signature, Task

NUMBERS = Signature(
    (Column("a", ColumnType.FLOAT), Column("b", ColumnType.FLOAT, nullable=True)), Task.REGRESSION
)
EVERY_TYPE = Signature(
    (
        Column("f", ColumnType.FLOAT),
        Column("i", ColumnType.INTEGER),
        Column("b", ColumnType.BOOLEAN, nullable=True),
        Column("s", ColumnType.STRING, nullable=True, categories=("x", "y")),
    ),
    Task.REGRESSION,
)


def read(payload: Any, signature: Signature = NUMBERS, max_rows: int = 10_000) -> Rows:
    return parse_rows(payload, signature, max_rows=max_rows)


@pytest.mark.parametrize(
    "payload",
    [
        {"instances": [[1, 2.5], [3, None]]},
        {"instances": [{"a": 1, "b": 2.5}, {"b": None, "a": 3}]},
        {"instances": [[1, 2.5], {"a": 3, "b": None}]},
        {"dataframe_records": [{"a": 1, "b": 2.5}, {"a": 3, "b": None}]},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2.5], [3, None]]}},
        {"dataframe_split": {"columns": ["b", "a"], "data": [[2.5, 1], [None, 3]], "index": [0, 1]}},
        {"inputs": {"a": [1, 3], "b": [2.5, None]}},
        {"inputs": {"b": [2.5, None], "a": [1, 3]}},
        {"inputs": [[1, 2.5], [3, None]]},
    ],
)
def test_every_form_gives_the_same_rows(payload: Any) -> None:
    rows = read(payload)
    assert [list(row) for row in rows.values] == [[1, 2.5], [3, None]]
    assert rows.matrix is not None
    assert rows.matrix.flags.c_contiguous
    np.testing.assert_array_equal(rows.matrix, [[1.0, 2.5], [3.0, np.nan]])
    assert (rows.count, list(rows.good), rows.errors, rows.warnings) == (2, [0, 1], {}, [])


@pytest.mark.parametrize(
    ("payload", "refusal"),
    [
        (None, UnknownPayload),
        ([], UnknownPayload),
        ({}, UnknownPayload),
        ({"rows": [[1, 2]]}, UnknownPayload),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, UnknownPayload),
        ({"instances": {"a": 1}}, MisshapenPayload),
        ({"instances": "ab"}, MisshapenPayload),
        ({"instances": None}, MisshapenPayload),
        ({"dataframe_records": [[1, 2]]}, MisshapenPayload),
        ({"dataframe_split": [[1, 2]]}, MisshapenPayload),
        ({"dataframe_split": {"columns": ["a", "b"]}}, MisshapenPayload),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3]]}}, MisshapenPayload),
        ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, MisshapenPayload),
        ({"dataframe_split": {"columns": "ab", "data": [[1, 2]]}}, MisshapenPayload),
        ({"dataframe_split": {"columns": ["a", 1], "data": [[1, 2]]}}, MisshapenPayload),
        ({"dataframe_split": {"columns": ["a"], "data": [["x"]], "more": 1}}, MisshapenPayload),
        ({"inputs": {"a": [1, 2], "b": [1]}}, MisshapenPayload),
        ({"inputs": {"a": 1, "b": 2}}, MisshapenPayload),
        ({"inputs": {}}, MisshapenPayload),
        ({"instances": []}, EmptyBatch),
        ({"inputs": {"a": [], "b": []}}, EmptyBatch),
        ({"dataframe_split": {"columns": ["a", "b"], "data": []}}, EmptyBatch),
    ],
)
def test_what_is_no_table_is_refused_as_a_whole(payload: Any, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        read(payload)


@pytest.mark.parametrize(
    "payload", [{"instances": [[1, 2]] * 11}, {"inputs": {"a": [1] * 11, "b": [1] * 11}}]
)
def test_more_rows_than_a_call_may_carry_are_refused(payload: Any) -> None:
    with pytest.raises(TooManyRows) as refusal:
        read(payload, max_rows=10)
    assert (refusal.value.rows, refusal.value.limit, refusal.value.status) == (11, 10, 413)


@pytest.mark.parametrize(
    ("column", "value", "problem", "got"),
    [
        ("f", None, "is null", "null"),
        ("f", "1.5", "has the wrong type", '"1.5"'),
        ("f", True, "has the wrong type", "true"),
        ("f", [1.0], "has the wrong type", "a list"),
        ("f", {}, "has the wrong type", "an object"),
        ("f", math.nan, "is not finite", "NaN"),
        ("f", math.inf, "is not finite", "Infinity"),
        ("f", 10**400, "is too large", "an integer beyond float64"),
        ("i", 1.5, "is not a whole number", "1.5"),
        ("i", True, "has the wrong type", "true"),
        ("i", math.inf, "is not finite", "Infinity"),
        ("b", 1, "has the wrong type", "1"),
        ("b", "true", "has the wrong type", '"true"'),
        ("s", 5, "has the wrong type", "5"),
        ("s", "a\0b", "holds NUL or half a surrogate pair", '"a\\u0000b"'),
        ("s", "\udc80", "holds NUL or half a surrogate pair", '"\\udc80"'),
    ],
)
@pytest.mark.parametrize("as_object", [True, False])
def test_a_bad_cell_is_told_by_column_and_harms_no_other_row(
    column: str, value: Any, problem: str, got: str, as_object: bool
) -> None:
    good = {"f": 0.5, "i": 1, "b": True, "s": "x"}
    instances = [good, good | {column: value}, good]
    rows = read(
        {"instances": instances if as_object else [list(row.values()) for row in instances]}, EVERY_TYPE
    )
    assert list(rows.good) == [0, 2]
    assert [list(row) for row in rows.values] == [[0.5, 1, True, "x"]] * 2
    (error,) = rows.errors[1]
    assert (error.column, error.problem, error.got) == (column, problem, got)


def test_each_bad_column_of_a_row_has_its_own_error() -> None:
    rows = read({"instances": [{"f": "no", "i": 0.5, "s": 3}]}, EVERY_TYPE)
    problems = {error.column: error.problem for error in rows.errors[0]}
    assert problems == {
        "f": "has the wrong type",
        "i": "is not a whole number",
        "b": "is missing",
        "s": "has the wrong type",
    }
    assert rows.errors[0][0].to_json() == {
        "column": "f",
        "problem": "has the wrong type",
        "expected": "float",
        "got": '"no"',
    }
    assert (rows.count, list(rows.good), list(rows.values)) == (1, [], [])


@pytest.mark.parametrize(
    ("row", "got"), [([1], "1 values"), ([1, 2, 3], "3 values"), (7, "7"), ("ab", '"ab"'), (None, "null")]
)
def test_what_is_no_row_fails_alone(row: Any, got: str) -> None:
    rows = read({"instances": [[1, 2], row]})
    assert list(rows.good) == [0]
    assert rows.matrix is not None
    assert rows.matrix.tolist() == [[1.0, 2.0]]
    assert (rows.errors[1][0].column, rows.errors[1][0].got) == (None, got)


def test_text_as_a_row_of_a_text_model_is_not_taken_apart() -> None:
    signature = Signature(tuple(Column(name, ColumnType.STRING) for name in "ab"), Task.REGRESSION)
    assert read({"instances": ["xy"]}, signature).errors[0][0].problem == "is no row"


def test_a_missing_column_is_an_error_even_where_null_is_allowed() -> None:
    assert read({"instances": [{"a": 1}]}).errors[0][0].problem == "is missing"


def test_unknown_columns_are_ignored_and_told_once() -> None:
    rows = read({"instances": [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2, "d": 3}]})
    assert rows.errors == {}
    assert rows.warnings == ['2 columns that the model does not take were ignored: "c", "d"']


def test_unknown_columns_are_told_beside_bad_rows_too() -> None:
    rows = read({"dataframe_split": {"columns": ["a", "b", "c"], "data": [["x", 1, 1], [1, 2, 3]]}})
    assert list(rows.good) == [1]
    assert rows.warnings == ['1 columns that the model does not take were ignored: "c"']


def test_new_categories_are_scored_and_counted() -> None:
    rows = read({"instances": [[1, 1, None, text] for text in ("x", "z", None, "z", "q")]}, EVERY_TYPE)
    assert rows.errors == {}
    assert rows.unseen == {"s": 3}
    assert rows.matrix is None


def test_a_whole_float_is_an_integer() -> None:
    rows = read({"instances": [[1, 3.0, True, "x"]]}, EVERY_TYPE)
    assert repr(list(rows.values[0])) == "[1, 3, True, 'x']"


def test_integers_beyond_exact_floats_are_taken_where_floats_are() -> None:
    rows = read({"instances": [[2**63 + 1, -(2**70)]]})
    assert rows.matrix is not None
    assert rows.matrix.tolist() == [[float(2**63), -float(2**70)]]


def test_large_numbers_whose_sum_overflows_are_not_refused() -> None:
    assert read({"instances": [[1.7e308, 1.7e308]]}).errors == {}


def test_nan_is_no_null() -> None:
    rows = read({"instances": [[1.0, None], [1.0, math.nan]]})
    assert list(rows.good) == [0]
    assert rows.errors[1][0].problem == "is not finite"


def test_a_single_column_may_be_named() -> None:
    signature = Signature((Column("only", ColumnType.FLOAT),), Task.REGRESSION)
    assert [list(row) for row in read({"instances": [{"only": 4}]}, signature).values] == [[4]]


def test_one_bad_row_in_a_large_batch_leaves_every_other() -> None:
    instances: list[Any] = [[float(i), 1.0] for i in range(1000)]
    instances[500] = ["x", 1.0]
    rows = read({"instances": instances})
    assert list(rows.good) == [i for i in range(1000) if i != 500]
    assert rows.matrix is not None
    assert rows.matrix[:, 0].tolist() == [float(i) for i in range(1000) if i != 500]
    assert list(rows.errors) == [500]


def test_the_details_of_very_many_bad_rows_are_kept_short() -> None:
    rows = read({"instances": [["x", "y"]] * (2 * MAX_DETAILED_ROWS)})
    assert len(rows.errors) == 2 * MAX_DETAILED_ROWS
    assert len(rows.errors[0]) == 2
    assert len(rows.errors[2 * MAX_DETAILED_ROWS - 1]) == 1


def test_merged_rows_keep_the_order_of_their_requests() -> None:
    merged = merge_rows([read({"instances": [[1, 1], [2, "bad"]]}), read({"instances": [[3, 3]]})])
    assert merged.matrix is not None
    assert merged.matrix.tolist() == [[1, 1], [3, 3]]
    assert (merged.count, list(merged.good)) == (2, [0, 1])
    assert merged.slice(1, 2).matrix is not None
    assert [list(row) for row in merged.slice(1, 2).values] == [[3, 3]]


def test_merged_rows_with_text_have_no_matrix() -> None:
    one = read({"instances": [[1, 1, None, "x"]]}, EVERY_TYPE)
    assert merge_rows([one, one]).matrix is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["f", "i", "b", "s", "zz"]), inner, max_size=5)
    ),
    max_leaves=20,
)
CELLS = {
    "f": st.floats() | st.integers(),
    "i": st.integers() | st.floats(),
    "b": st.none() | st.booleans() | st.integers(),
    "s": st.none() | st.text(max_size=3) | st.integers(),
}


@given(
    st.dictionaries(
        st.sampled_from(["instances", "inputs", "dataframe_records", "dataframe_split"]), JSON, max_size=2
    )
)
def test_any_json_is_read_or_refused(payload: Any) -> None:
    try:
        rows = read(payload, EVERY_TYPE)
    except Refusal:
        return
    assert sorted([*rows.good, *rows.errors]) == list(range(rows.count))


@given(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=150), st.randoms(use_true_random=False))
def test_a_row_reads_the_same_alone_and_in_a_batch(
    batch: list[dict[str, Any]], shuffle: random.Random
) -> None:
    shuffle.shuffle(batch)
    together = read({"instances": batch}, EVERY_TYPE)
    alone = [read({"instances": [row]}, EVERY_TYPE) for row in batch]
    assert [list(row) for row in together.values] == [list(row) for rows in alone for row in rows.values]
    assert together.errors == {i: rows.errors[0] for i, rows in enumerate(alone) if rows.errors}
