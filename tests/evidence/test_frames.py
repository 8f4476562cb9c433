"""D11: one answered request as a frame of the spool, and as rows of the log."""

import io
import json
import struct
import timeit
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.core.ids import new_id, new_ids, time_of
from app.evidence.copying import COLUMNS, copy_rows, days_of
from app.evidence.frames import UnreadableFrameError, decode_frame, encode_frame
from tests.evidence.making import scored_request

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT
)


def logged(scored):
    """A request as the shipper sees it."""
    return decode_frame(encode_frame(scored))


def rows_of(*requests):
    """The rows by column, as their fields are laid out for COPY: the raw bytes, None where nothing is."""
    copied, rows = io.BytesIO(copy_rows([logged(scored) for scored in requests])), []
    while head := copied.read(2):
        assert head == len(COLUMNS).to_bytes(2)
        rows.append({column: next_field(copied) for column in COLUMNS})
    return rows


def next_field(copied):
    size = int.from_bytes(copied.read(4), signed=True)
    return None if size < 0 else copied.read(size)


def number(field):
    return struct.unpack("!d", field)[0]


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
    assert_same(scored, logged(scored))


@given(st.lists(st.tuples(CELLS, CELLS), max_size=5), TEXT)
def test_a_frame_with_text_in_it_is_read_back_equal(cells, why):
    rows = [list(row) for row in cells]
    scored = scored_request(
        ids=new_ids(len(rows)), features=rows, predictions=["a"] * len(rows), probabilities=None,
        failures={0: why} if rows else {}, refused=[(new_id(), [{"column": None, "got": why}])],
    )  # fmt: skip
    again = logged(scored)
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


def test_every_text_stays_as_it_is():
    nasty = 'tab\there, line\nthere, back\\slash, "quote", ü'
    scored = scored_request(
        2, features=[[nasty, 1], [None, 2]], request_id=nasty, caller=nasty, entity_id=nasty,
        predictions=[nasty, 1], probabilities=None,
    )  # fmt: skip
    first, second = rows_of(scored)
    assert {first[name].decode() for name in ("request_id", "caller", "entity_id")} == {nasty}
    assert [json.loads(row["features"]) for row in (first, second)] == [[nasty, 1], [None, 2]]
    assert [json.loads(row["output"]) for row in (first, second)] == [nasty, 1]


def test_confidence_is_the_largest_probability_and_a_failed_row_has_none():
    scored = scored_request(2, failures={1: "singular matrix"})
    good, failed = rows_of(scored)
    assert (number(good["confidence"]), good["output"], good["error"]) == (0.75, b"1", None)
    assert (failed["confidence"], failed["output"], failed["error"]) == (None, None, b'"singular matrix"')
    assert failed["probabilities"] is None
    assert failed["features"] is not None


def test_requests_that_are_copied_together_keep_what_is_theirs():
    nothing = scored_request(0, refused=[(new_id(), "all bad")], request_id="nothing")
    plain = scored_request(2, request_id="plain", predictions=["a", "b"])
    broken = scored_request(
        3, request_id="broken", failures={0: "why", 2: "why not"}, predictions=[None, 5, None]
    )
    other = scored_request(1, request_id="other", version=2, probabilities=None)
    requests = {scored.request_id: scored for scored in (nothing, plain, broken, other)}
    rows = {UUID(bytes=row["id"]): row for row in rows_of(*requests.values())}
    for name, scored in requests.items():
        for i, identifier in enumerate(scored.ids):
            row = rows.pop(identifier)
            assert row["request_id"].decode() == name
            assert json.loads(row["features"]) == scored.features[i].tolist()
            assert json.loads(row["error"] or "null") == scored.failures.get(i)
            assert json.loads(row["output"] or "null") == scored.predictions[i]
    assert [json.loads(row["error"]) for row in rows.values()] == ["all bad"]


def test_the_time_of_a_row_is_the_time_in_its_id():
    identifier = UUID("01890000-0000-7000-8000-000000000000")
    (row,) = rows_of(scored_request(ids=[identifier]))
    since_2000 = time_of(identifier) - datetime(2000, 1, 1, tzinfo=UTC)
    assert int.from_bytes(row["at"]) == since_2000 / timedelta(microseconds=1)


def test_a_failure_of_a_row_that_is_not_there_is_refused():
    with pytest.raises(UnreadableFrameError, match="beyond"):
        logged(scored_request(2, failures={2: "why"}))


def test_a_row_that_never_reached_the_model_is_logged_with_its_errors():
    refused_id = new_id()
    scored = scored_request(1, refused=[(refused_id, [{"column": "x0", "problem": "is null"}])])
    refused = rows_of(scored)[1]
    assert UUID(bytes=refused["id"]) == refused_id
    assert (refused["features"], refused["output"]) == (None, None)


def test_the_day_of_a_row_is_the_day_in_its_id():
    midnight = UUID(int=(1_700_006_400_000 << 80) | (7 << 76) | (2 << 62))
    before = UUID(int=midnight.int - (1 << 80))
    assert {day.isoformat() for day in days_of([logged(scored_request(2, ids=[before, midnight]))])} == {
        "2023-11-14",
        "2023-11-15",
    }


def test_encoding_one_row_of_thirty_features_costs_microseconds():
    scored = scored_request(
        1, features=np.random.default_rng(1).normal(size=(1, 30)), column_types=("float",) * 30
    )
    best = min(timeit.repeat(lambda: encode_frame(scored), number=2000, repeat=5)) / 2000
    assert best < 20e-6, "10 µs on a quiet machine"
