"""D11: one answered request as a frame of the spool, and as rows of the log."""

import json
import timeit
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.core.ids import new_id, new_ids
from app.evidence.copying import COLUMNS, copy_lines, days_of
from app.evidence.frames import UnreadableFrameError, decode_frame, encode_frame
from tests.evidence.making import scored_request

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT
)


def rows_of(scored):
    """The lines by column, of requests whose texts need no escape."""
    lines = copy_lines(scored).decode().splitlines()
    return [
        dict(zip(COLUMNS, [None if f == "\\N" else f for f in line.split("\t")], strict=True))
        for line in lines
    ]


def assert_same(scored, again):
    assert again.origin == scored.origin
    for name in ("request_id", "caller", "entity_id", "latency_ms", "ids", "predictions", "failures"):
        assert getattr(again, name) == getattr(scored, name)
    assert list(again.refused) == list(scored.refused)
    np.testing.assert_array_equal(again.features.ravel(), scored.features.ravel())
    np.testing.assert_array_equal(again.probabilities, scored.probabilities)


@given(
    data=st.data(),
    rows=st.integers(0, 5),
    texts=st.tuples(TEXT, TEXT, st.none() | TEXT),
    latency_ms=st.floats(0, 1e6),
)
def test_a_frame_of_numbers_is_read_back_equal(data, rows, texts, latency_ms):
    matrix = data.draw(arrays(np.float64, (rows, 3)))
    odds = data.draw(arrays(np.float64, (rows, 2)))
    predictions = data.draw(st.lists(CELLS, min_size=rows, max_size=rows))
    request_id, caller, entity_id = texts
    scored = scored_request(
        ids=new_ids(rows), features=matrix, predictions=predictions, probabilities=odds if rows else None,
        request_id=request_id, caller=caller, entity_id=entity_id, latency_ms=latency_ms,
    )  # fmt: skip
    assert_same(scored, decode_frame(encode_frame(scored)))


@given(st.lists(st.tuples(CELLS, CELLS), max_size=5), TEXT)
def test_a_frame_with_text_in_it_is_read_back_equal(cells, why):
    rows = [list(row) for row in cells]
    scored = scored_request(
        ids=new_ids(len(rows)), features=rows, predictions=["a"] * len(rows), probabilities=None,
        failures={0: why} if rows else {}, refused=[(new_id(), [{"column": None, "got": why}])],
    )  # fmt: skip
    again = decode_frame(encode_frame(scored))
    assert again.features == rows
    assert again.failures == scored.failures
    assert list(again.refused) == list(scored.refused)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_frame_are_refused(payload):
    with pytest.raises(UnreadableFrameError):
        decode_frame(payload)


@given(st.data())
def test_a_frame_that_was_cut_is_refused(data):
    payload = encode_frame(scored_request(2))
    with pytest.raises(UnreadableFrameError):
        decode_frame(payload[: data.draw(st.integers(0, len(payload) - 1))])


def test_cells_get_back_the_types_that_the_signature_names():
    matrix = np.array([[1.0, 2.0, 1.0], [1.5, np.nan, 0.0]])
    scored = scored_request(2, features=matrix, column_types=("float", "integer", "boolean"))
    features = [json.loads(row["features"]) for row in rows_of(scored)]
    assert features == [[1.0, 2, True], [1.5, None, False]]
    assert [type(cell) for cell in features[0]] == [float, int, bool]


def test_every_row_becomes_one_line_whatever_its_texts_hold():
    nasty = 'tab\there, line\nthere, back\\slash, "quote"'
    scored = scored_request(
        2, features=[[nasty, 1], [None, 2]], request_id=nasty, caller=nasty, predictions=[nasty, 1], probabilities=None
    )  # fmt: skip
    lines = copy_lines(scored).split(b"\n")
    assert len(lines) == 3
    assert {line.count(b"\t") for line in lines[:2]} == {len(COLUMNS) - 1}


def test_confidence_is_the_largest_probability_and_a_failed_row_has_none():
    scored = scored_request(2, failures={1: "singular matrix"})
    good, failed = rows_of(scored)
    assert (good["confidence"], good["output"], good["error"]) == ("0.75", "1", None)
    assert (failed["confidence"], failed["output"], failed["error"]) == (None, None, '"singular matrix"')
    assert failed["features"] is not None


def test_a_row_that_never_reached_the_model_is_logged_with_its_errors():
    refused_id = new_id()
    scored = scored_request(1, refused=[(refused_id, [{"column": "x0", "problem": "is null"}])])
    refused = rows_of(scored)[1]
    assert UUID(refused["id"]) == refused_id
    assert (refused["features"], refused["output"]) == (None, None)


def test_the_day_of_a_row_is_the_day_in_its_id():
    midnight = UUID(int=(1_700_006_400_000 << 80) | (7 << 76) | (2 << 62))
    before = UUID(int=midnight.int - (1 << 80))
    assert {day.isoformat() for day in days_of(scored_request(2, ids=[before, midnight]))} == {
        "2023-11-14",
        "2023-11-15",
    }


def test_encoding_one_row_of_thirty_features_costs_microseconds():
    scored = scored_request(
        1, features=np.random.default_rng(1).normal(size=(1, 30)), column_types=("float",) * 30
    )
    best = min(timeit.repeat(lambda: encode_frame(scored), number=2000, repeat=5)) / 2000
    assert best < 20e-6, "10 µs on a quiet machine"
