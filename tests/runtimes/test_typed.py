"""D1: a plain body read in one step holds the very rows that the thorough way finds; anything else is left to that."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.runtimes.rows import parse_rows, to_matrix
from app.runtimes.schema import Column, ColumnType, Signature, Task
from app.runtimes.typed import MOST_COLUMNS, TypedReader, find_reader

COLUMNS = (
    Column("f", ColumnType.FLOAT),
    Column("i", ColumnType.INTEGER),
    Column("Größe / % 😀", ColumnType.BOOLEAN),
    Column("n", ColumnType.FLOAT, nullable=True),
)
SIGNATURE = Signature(COLUMNS, Task.REGRESSION)
READER = TypedReader(SIGNATURE)
GOOD: list[Any] = [1.5, 2, True, None]


def read(body: Any, reader: TypedReader = READER, max_rows: int = 100) -> Any:
    return reader.read(body if isinstance(body, bytes) else json.dumps(body).encode(), max_rows=max_rows)


def named(row: list[Any]) -> dict[str, Any]:
    return dict(zip(SIGNATURE.names, row, strict=True))


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [GOOD, [2, 3, False, 4.0]]},
        {"inputs": [GOOD, [2, 3, False, 4.0]]},
        {"instances": [named(GOOD), named([2, 3, False, 4.0])]},
        {"dataframe_records": [named(GOOD), named([2, 3, False, 4.0])]},
        b'\n {"instances" :\n [ \n' + json.dumps(named(GOOD)).encode() + b"]}\t",
    ],
)
def test_rows_in_lists_or_objects_are_taken(body):
    plain = read(body)
    rows = READER.to_rows(plain.table)
    np.testing.assert_array_equal(rows.matrix[0], [1.5, 2, 1, np.nan])
    assert (rows.count, rows.errors, plain.entity_id, plain.request_id) == (len(plain.table), {}, None, None)


def test_whom_they_are_about_and_how_they_are_called_comes_with_them():
    plain = read({"instances": [GOOD], "entity_id": 7, "request_id": "r"})
    assert (plain.entity_id, plain.request_id) == (7, "r")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b'{"instances": []}', b"\xff", b'{"instances": [[NaN, 1, true, null]]}'),
        b'{"instances": [[1e999, 1, true, null]]}',
        b"[" * 100_000,
        {"instances": [GOOD], "inputs": [GOOD]},
        {"instances": [GOOD], "environment": "staging"},
        {"instances": [GOOD], "arm": "a"},
        {"instances": [GOOD[:3]]},
        {"instances": [[*GOOD, 1]]},
        {"instances": [[None, 2, True, None]]},
        {"instances": [[True, 2, True, None]]},
        {"instances": [["1", 2, True, None]]},
        {"instances": [[1.5, 2.0, True, None]]},
        {"instances": [[1.5, 2, 1, None]]},
        {"instances": [named(GOOD), GOOD]},
        {"instances": [named(GOOD) | {"extra": 1}]},
        {"dataframe_split": {"columns": list(SIGNATURE.names), "data": [GOOD]}},
        {"inputs": {"f": [1.5], "i": [2]}},
        {"instances": [GOOD], "entity_id": True},
        {"instances": [GOOD] * 101},
    ],
)
def test_anything_else_is_left_to_a_closer_look(body):
    assert read(body) is None


cells = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()
)
good_rows = st.tuples(
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
).map(list)


@settings(deadline=None)
@given(
    table=st.lists(good_rows | st.lists(cells, min_size=3, max_size=5), min_size=1, max_size=4),
    by_name=st.booleans(),
)
@example(table=[[2**53 + 1, 0, False, None]], by_name=False)
def test_what_it_takes_the_thorough_way_takes_alike(table, by_name):
    fits = all(len(row) == len(COLUMNS) for row in table)
    payload = {"instances": [named(row) for row in table] if by_name and fits else table}
    plain = read(payload)
    if plain is None:
        return
    quick, thorough = READER.to_rows(plain.table), parse_rows(payload, SIGNATURE, max_rows=100)
    assert thorough.errors == {}
    np.testing.assert_array_equal(quick.matrix, thorough.matrix)
    # As numbers: an integer in a column of floats stays one in the thorough way, though beyond 2^53 no float is equal.
    np.testing.assert_array_equal(to_matrix(quick.values), to_matrix(thorough.values))


@settings(deadline=None)
@given(table=st.lists(good_rows, min_size=1, max_size=4), by_name=st.booleans())
def test_it_takes_every_row_of_the_right_types(table, by_name):
    assert read({"instances": [named(row) for row in table] if by_name else table}) is not None


def test_an_integer_beyond_float64_is_told_when_the_rows_are_made():
    plain = read({"instances": [[1.5, 10**400, True, None]]})
    with pytest.raises(OverflowError):
        READER.to_rows(plain.table)


def test_there_is_no_reader_for_text_nor_for_very_wide_tables_nor_for_names_that_json_escapes():
    wide = tuple(Column(f"c{i}", ColumnType.FLOAT) for i in range(MOST_COLUMNS + 1))
    assert find_reader(Signature((Column("s", ColumnType.STRING),), Task.REGRESSION)) is None
    assert find_reader(Signature(wide, Task.REGRESSION)) is None
    assert find_reader(Signature((Column('a "quote"', ColumnType.FLOAT),), Task.REGRESSION)) is None
    assert find_reader(Signature(wide[:-1], Task.REGRESSION)) is not None
