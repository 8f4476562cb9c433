"""D11, S3: the log is queried by what its rows say, page by page; what is sensitive is hidden from all but admins."""

import csv
import gc
import io
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID, uuid4

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from app.core.ids import new_id, time_of
from app.evidence import queries
from app.evidence.tables import PredictionRow
from app.registry.actions import edit_model
from tests import make
from tests.conftest import TESTER
from tests.evidence.making import about, give, log_requests, scored_request

URL = "/api/models/m/predictions"
MASK = "•••"


@pytest.fixture
async def log(database, version, tmp_path):
    """Requests of every kind, the oldest first, a second between them."""
    newest = new_id()
    ids = [UUID(int=newest.int - (seconds * 1000 << 80)) for seconds in range(4, -1, -1)]
    kinds = [{}, {"arm": "challenger"}, {"caller": "batch"}, {"shadow": True}, {"entity_id": "e-1"}]
    requests = [
        scored_request(ids=[identifier], version_id=version.id, **kind)
        for identifier, kind in zip(ids, kinds, strict=True)
    ]
    await log_requests(database, tmp_path, *requests)
    return ids


async def found(client, url=URL, **query):
    answer = await client.get(url, params=query)
    assert answer.status_code == 200, answer.text
    return [item["prediction_id"] for item in answer.json()["items"]]


async def hide(database, *columns):
    async with database.writes(TESTER) as session:
        await edit_model(session, "m", {"sensitive_columns": list(columns)})


async def test_a_prediction_is_shown_with_its_columns_by_name(viewer, log):
    shown = (await viewer.get(f"{URL}/{log[-1]}")).json()
    assert shown["features"] == {"x0": 0.5, "x1": 1.5}
    assert (shown["model_id"], shown["prediction"], shown["probabilities"]) == ("m:1", 1, [0.25, 0.75])
    assert (shown["confidence"], shown["entity_id"], shown["outcome"]) == (0.75, "e-1", None)
    assert datetime.fromisoformat(shown["at"]) == time_of(log[-1])


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ({}, [4, 3, 2, 1, 0]),
        ({"arm": "challenger"}, [1]),
        ({"caller": "batch"}, [2]),
        ({"shadow": True}, [3]),
        ({"entity_id": "e-1"}, [4]),
        ({"version": 1, "shadow": False, "arm": "champion"}, [4, 2, 0]),
        ({"version": 2}, []),
        ({"labelled": False}, [4, 3, 2, 1, 0]),
        ({"labelled": True}, []),
    ],
)
async def test_filters_narrow_the_list(viewer, log, query, places):
    assert await found(viewer, **query) == [str(log[place]) for place in places]


async def test_times_and_ids_narrow_the_list(viewer, caller, log):
    since, until = time_of(log[1]), time_of(log[3])
    assert await found(viewer, since=since.isoformat(), until=until.isoformat()) == [str(log[2]), str(log[1])]
    assert await found(viewer, id=str(log[2])) == [str(log[2])]
    assert await found(viewer, id=str(uuid4())) == []
    await give(caller, about(log[3], 0))
    assert await found(viewer, labelled=True) == [str(log[3])]


async def test_pages_follow_each_other_without_gap_or_double_within_one_millisecond(
    viewer, database, version, tmp_path
):
    requests = [scored_request(10, version_id=version.id) for _ in range(3)]
    await log_requests(database, tmp_path, *requests)
    seen, cursor = [], None
    while True:
        page = (await viewer.get(URL, params={"limit": 7} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [item["prediction_id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted((str(i) for request in requests for i in request.ids), reverse=True)


async def test_a_version_reference_means_its_own_rows_and_contradicts_another_version(
    viewer, database, log, version, tmp_path
):
    async with database.writes(TESTER) as session:
        second = await make.version(session, "m")
    other = scored_request(version_id=second.id, version=2)
    await log_requests(database, tmp_path, other)
    assert await found(viewer, "/api/models/m:2/predictions") == [str(other.ids[0])]
    assert len(await found(viewer)) == 6
    refused = await viewer.get("/api/models/m:2/predictions", params={"version": 1})
    assert (refused.status_code, refused.json()["field"]) == (422, "version")


@pytest.mark.parametrize(
    "query",
    [
        "arm=%00",
        "since=0001-01-01T00:00:00%2B14:00",
        "version=0",
        "version=9999999999999",
        "id=x",
        "cursor=forged",
    ],
)
async def test_filters_that_mean_nothing_are_refused(viewer, log, query):
    assert (await viewer.get(f"{URL}?{query}")).status_code in {400, 422}


async def test_what_the_log_does_not_have_is_not_found(viewer, log):
    for identifier in (new_id(), uuid4(), UUID(int=(((1 << 48) - 1) << 80) | (7 << 76) | (2 << 62))):
        answer = await viewer.get(f"{URL}/{identifier}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/prediction-not-found")
    assert (await viewer.get("/api/models/none/predictions")).status_code == 404


async def test_sensitive_columns_are_hidden_from_all_but_admins(clients, database, log):
    await hide(database, "x1")
    for role, seen in (("viewer", MASK), ("caller", MASK), ("operator", MASK), ("admin", 1.5)):
        shown = (await clients[role].get(f"{URL}/{log[0]}")).json()
        assert shown["features"] == {"x0": 0.5, "x1": seen}
        exported = (await clients[role].get(f"{URL}/export")).text
        assert (MASK in exported) == (role != "admin")


async def test_errors_do_not_give_away_what_is_hidden(clients, database, version, tmp_path):
    secret = "4711-secret"
    wrong = [{"column": "x1", "problem": "has the wrong type", "expected": "float", "got": secret}]
    scored = scored_request(
        1, version_id=version.id, failures={0: f"can't use {secret}"}, refused=[(new_id(), wrong)]
    )
    await log_requests(database, tmp_path, scored)
    await hide(database, "x1")
    for path in (URL, f"{URL}/export"):
        assert secret not in (await clients["viewer"].get(path)).text
        assert secret in (await clients["admin"].get(path)).text


async def test_the_log_is_exported_as_csv_with_labels(viewer, caller, log):
    await give(caller, about(log[0], 0, value=2.5))
    answer = await viewer.get(f"{URL}/export")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="m predictions.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["prediction_id"] for row in rows] == [str(identifier) for identifier in reversed(log)]
    oldest = rows[-1]
    assert (oldest["feature.x0"], oldest["prediction"], oldest["actual"], oldest["value"]) == (
        "0.5",
        "1",
        "0",
        "2.5",
    )
    assert (oldest["shadow"], oldest["model_id"], oldest["probabilities"]) == ("false", "m:1", "[0.25,0.75]")


async def test_the_log_is_exported_as_parquet_with_types(viewer, caller, log):
    await give(caller, about(log[0], 0))
    answer = await viewer.get(
        f"{URL}/export", params={"format": "parquet", "until": time_of(log[1]).isoformat()}
    )
    table = pq.read_table(io.BytesIO(answer.content))
    assert table.num_rows == 1
    types = {field.name: str(field.type) for field in table.schema}
    assert types["at"] == "timestamp[us, tz=UTC]"
    assert (types["feature.x0"], types["prediction"], types["shadow"]) == ("double", "int64", "bool")
    row = table.to_pylist()[0]
    assert (row["prediction_id"], row["actual"], row["at"]) == (str(log[0]), 0, time_of(log[0]))


async def test_an_export_of_nothing_still_has_its_columns(viewer, version):
    assert (await viewer.get(f"{URL}/export")).text.startswith("prediction_id,at,")
    empty = await viewer.get(f"{URL}/export", params={"format": "parquet"})
    assert pq.read_table(io.BytesIO(empty.content)).num_rows == 0
    assert (await viewer.get(f"{URL}/export", params={"format": "xlsx"})).status_code == 422


async def test_asking_what_turned_out_to_be_true_leaves_nothing_for_the_collector(database, log):
    """A statement made anew is a knot of some 170 objects; an export asks thousands of times."""
    async with database.reads() as session:
        rows = (await session.execute(select(*PredictionRow.__table__.columns))).all()
        await queries.outcomes_of(session, rows)
        gc.collect()
        with collector_off():
            for _ in range(20):
                await queries.outcomes_of(session, rows)
            assert gc.collect() < 1700  # half a knot a call; some tens may be the driver's own


@contextmanager
def collector_off():
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_no_exported_text_is_a_formula(viewer, database, version, tmp_path):
    scored = scored_request(
        1, version_id=version.id, entity_id="=cmd|' /C calc'!A0", caller="+1", predictions=[-1]
    )
    await log_requests(database, tmp_path, scored)
    (row,) = csv.DictReader(io.StringIO((await viewer.get(f"{URL}/export")).text))
    assert row["entity_id"] == "'=cmd|' /C calc'!A0"
    assert row["caller"] == "'+1"
    assert row["prediction"] == "-1", "a number is no formula"


async def test_rows_of_versions_with_other_columns_share_one_file(viewer, database, log, tmp_path):
    wider = make.SIGNATURE | {
        "inputs": [*make.SIGNATURE["inputs"], {"name": "x2", "type": "string", "nullable": True}]
    }
    async with database.writes(TESTER) as session:
        second = await make.version(session, "m", signature=wider)
    scored = scored_request(1, version_id=second.id, version=2, features=[[1.0, 2.0, "red"]])
    await log_requests(database, tmp_path, scored)
    rows = list(csv.DictReader(io.StringIO((await viewer.get(f"{URL}/export")).text)))
    assert [row["feature.x2"] for row in rows] == ["red", "", "", "", "", ""]
    narrowed = (await viewer.get(f"{URL}/export", params={"version": 1})).text
    assert "feature.x2" not in narrowed
