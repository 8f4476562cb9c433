"""R1, M1, M6 over HTTP: files of which some cell can't be read, from registration to what stands on them."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from app.core.ids import new_id
from tests.faults.harness import eventually
from tests.monitoring.making import profiled

ROWS = 600
TYPES = {"size": "float", "visits": "integer", "smoker": "boolean", "ward": "string"}


def rows_of(seed):
    """Rows with a column of each type; the codes of wards are mostly digits."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": generator.normal(size=ROWS).round(4),
            "visits": generator.integers(0, 9, ROWS),
            "smoker": generator.random(ROWS) < 0.3,
            "ward": generator.choice(["12", "17", "A3"], ROWS, p=[0.6, 0.35, 0.05]),
        }
    )
    return frame.assign(ill=(frame["size"] + frame["smoker"] > 0.4).astype(int))


@pytest.fixture(scope="module")
def table():
    return rows_of(12)


@pytest.fixture(scope="module")
def held_out():
    return rows_of(13)


def with_cell(frame, row, column, cell):
    changed = frame.astype(object)
    changed.loc[row, column] = cell
    return changed


def csv(frame):
    return frame.to_csv(index=False).encode()


def parquet(frame):
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


def model_of(table, kind=LogisticRegression):
    wards = ColumnTransformer([("ward", OneHotEncoder(), ["ward"])], remainder="passthrough")
    return make_pipeline(wards, kind()).fit(table.drop(columns="ill"), table["ill"])


async def register(client, model, reference, evaluation=None, **metadata):
    files = [("artifact", ("model.skops", skops.io.dumps(model))), ("reference", ("reference", reference))]
    if evaluation is not None:
        files.append(("evaluation", ("evaluation", evaluation)))
        metadata["target"] = "ill"
    data = {"metadata": json.dumps({"name": f"m-{new_id().hex}", "serve_as": "native"} | metadata)}
    return await client.post("/api/models", data=data, files=files)


async def told_of(client, answer):
    """The version's columns by type, what it warns of, and how many rows its reference has."""
    assert answer.status_code == 201, answer.text
    version = answer.json()
    await profiled(client, version["model_id"])
    check = await client.post(f"/api/models/{version['model_id']}/drift-check", json={})
    reference = check.json()["reference"]
    assert reference["kind"] == "sample"
    types = {column["name"]: column["type"] for column in version["signature"]["inputs"]}
    return types, version["warnings"], reference["rows"]


@pytest.mark.parametrize("row", [0, 57])
@pytest.mark.parametrize(
    ("column", "cell", "problem"),
    [
        ("size", "n/a?", 'has the wrong type (expected float, got "n/a?")'),
        ("size", "12,5", 'has the wrong type (expected float, got "12,5")'),
        ("size", "inf", "is not finite (expected float, got Infinity)"),
        ("size", None, "is null (expected float, got null)"),
        ("visits", "three", 'has the wrong type (expected integer, got "three")'),
        ("smoker", "maybe", 'has the wrong type (expected boolean, got "maybe")'),
    ],
)
async def test_one_odd_cell_of_a_reference_costs_one_row(shared_client, table, row, column, cell, problem):
    sample = csv(with_cell(table.drop(columns="ill"), row, column, cell))
    types, warnings, rows = await told_of(
        shared_client, await register(shared_client, model_of(table), sample)
    )
    assert (types, rows) == (TYPES, ROWS - 1)
    assert warnings == [f"column {column!r}: 1 of 600 rows left out; the first, row {row + 1}, {problem}"]


async def test_an_odd_row_that_is_read_by_itself_leaves_the_reference_usable(shared_client, table):
    sample = pd.concat([table.drop(columns="ill")] * 4, ignore_index=True)[:2001]
    sample = csv(with_cell(sample, 2000, "size", "abc"))
    answer = await register(shared_client, model_of(table), sample)
    types, warnings, rows = await told_of(shared_client, answer)
    assert (types, rows) == (TYPES, 2000)
    assert "1 of 2,001 rows left out" in warnings[0]


async def test_empty_cells_are_nulls_where_the_model_takes_them(shared_client, table):
    numbers = table[["size", "visits"]]
    model = HistGradientBoostingClassifier(max_iter=5).fit(numbers, table["ill"])
    sample = csv(with_cell(with_cell(numbers, 57, "size", None), 58, "size", "N/A"))
    answer = await register(shared_client, model, sample)
    _, warnings, rows = await told_of(shared_client, answer)
    assert (warnings, rows) == ([], ROWS)
    assert [column["nullable"] for column in answer.json()["signature"]["inputs"]] == [True, False]


async def test_digits_are_codes_where_the_model_was_trained_on_codes(shared_client, table):
    codes = table[["ward"]]
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(codes, table["ill"])
    types, warnings, rows = await told_of(shared_client, await register(shared_client, model, csv(codes)))
    assert (types, rows) == ({"ward": "string"}, ROWS)
    assert [warning[:36] for warning in warnings] == ["the reference holds 3 different rows"]


async def test_a_signature_of_the_caller_says_what_a_cell_should_be(shared_client, table):
    inputs = [{"name": name, "type": kind} for name, kind in TYPES.items()]
    inputs[0]["nullable"] = True
    signature = {"inputs": inputs, "task": "classification"}
    sample = with_cell(table.drop(columns="ill"), 3, "visits", "2.5").assign(ward="12")
    answer = await register(shared_client, model_of(table), csv(sample), signature=signature)
    types, warnings, rows = await told_of(shared_client, answer)
    assert (types, rows) == (TYPES, ROWS - 1)
    assert warnings == [
        "column 'visits': 1 of 600 rows left out; the first, row 4, is not a whole number (expected integer, got 2.5)"
    ]


async def test_rows_are_named_as_they_are_in_the_file_whatever_their_times(shared_client, table):
    numbers = table[["size", "visits"]]
    times = pd.date_range("2026-03-01", periods=ROWS, freq="h", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
    sample = with_cell(numbers, 57, "size", "?").assign(when=times[::-1])
    model = LogisticRegression().fit(numbers, table["ill"])
    answer = await register(shared_client, model, csv(sample), reference_time="when")
    _, warnings, rows = await told_of(shared_client, answer)
    assert rows == ROWS - 1
    assert "the first, row 58, has the wrong type" in warnings[0]


@pytest.mark.parametrize(
    ("column", "cells", "problem"),
    [
        ("size", lambda cells: cells.map("{:.2f}".format).str.replace(".", ","), 'row 1, has the wrong type (expected float, got "'),
        ("size", lambda cells: cells.astype(object).where(cells.index % 3 == 0, "x"), "400 of 600 rows left out; the first, row 2,"),
        ("smoker", lambda cells: cells.map({True: "yes", False: "no"}), "600 of 600 rows left out; the first, row 1,"),
        ("size", lambda cells: cells.where(cells.index % 3 == 0), "Fill its empty cells"),
    ],
    ids=["decimal commas", "mostly text", "words", "mostly empty"],
)  # fmt: skip
async def test_a_column_most_of_whose_cells_are_odd_is_refused_by_name(
    shared_client, table, column, cells, problem
):
    sample = table.drop(columns="ill").assign(**{column: cells(table[column])})
    refused = await register(shared_client, model_of(table), csv(sample))
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/bad-sample")
    detail = refused.json()["detail"]
    assert detail.startswith(f"column {column!r}: ")
    assert problem in detail
    assert "send a `signature`" in detail


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("n/a?", "column 'size': 600 of 600 rows left out; the first, row 1, has the wrong type"),
        (pd.Timestamp("2026-03-01"), "the column size holds datetime64[us] values; use numbers"),
        ([1.0], "the column size holds lists; use numbers"),
        ({"a": 1}, "the column size holds objects; use numbers"),
    ],
)
async def test_a_parquet_column_of_a_wrong_type_is_refused_by_name(
    shared_client, table, cell, problem, stated
):
    inputs = [{"name": name, "type": kind} for name, kind in TYPES.items()]
    metadata = {"signature": {"inputs": inputs, "task": "classification"}} if stated else {}
    sample = table.drop(columns="ill").assign(size=[cell] * ROWS)
    refused = await register(shared_client, model_of(table), parquet(sample), **metadata)
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith(problem)


async def test_a_parquet_column_of_dates_is_refused_in_a_check_too(shared_client, table):
    answer = await register(shared_client, model_of(table), csv(table.drop(columns="ill")))
    await told_of(shared_client, answer)
    refused = await shared_client.post(
        f"/api/models/{answer.json()['model_id']}/drift-check/table",
        content=parquet(table.assign(size=pd.Timestamp("2026-03-01"))),
        headers={"Content-Type": "application/vnd.apache.parquet"},
    )
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/bad-sample")


async def test_numbers_written_as_text_in_parquet_are_told(shared_client, table):
    numbers = table[["size", "visits"]]
    model = LogisticRegression().fit(numbers, table["ill"])
    answer = await register(shared_client, model, parquet(numbers.assign(size=numbers["size"].astype(str))))
    types, warnings, _ = await told_of(shared_client, answer)
    assert types["size"] == "string"
    assert warnings[0].startswith("the column 'size' is text, all of which reads as numbers")


async def gate_of(client, reference):
    """The checks before staging by their names; of several with one name the first."""
    answer = await client.post(f"/api/models/{reference}/validate", json={})
    report = (
        answer.json()["gate_reports"][0] if answer.status_code == 200 else {"checks": answer.json()["failed"]}
    )
    return {check["check"]: check for check in reversed(report["checks"])}


async def baseline_of(client, reference):
    found = {}

    async def is_made():
        answer = await client.post(f"/api/models/{reference}/performance-check", json={})
        found.update(answer.json().get("baseline") or {})
        return found

    await eventually(is_made, within=60)
    return found


@pytest.mark.parametrize(("column", "cell"), [("size", "n/a?"), ("visits", "three"), ("ill", "unknown")])
async def test_one_odd_cell_of_held_out_rows_costs_one_row(shared_client, table, held_out, column, cell):
    answer = await register(
        shared_client,
        model_of(table),
        csv(table.drop(columns="ill")),
        csv(with_cell(held_out, 8, column, cell)),
    )
    reference = answer.json()["model_id"]
    checks = await gate_of(shared_client, reference)
    assert checks["held-out rows"]["passed"] is None
    told = checks["held-out rows"]["finding"]
    assert told.startswith(f"column {column!r}: 1 of 600 rows left out; the first, row 9, has the wrong type")
    baseline = await baseline_of(shared_client, reference)
    assert (baseline["kind"], baseline["labelled"]) == ("evaluation", ROWS - 1)


async def test_the_truth_may_be_written_as_true_and_false(shared_client, table, held_out):
    rows = with_cell(held_out.assign(ill=held_out["ill"] == 1), 8, "ill", "maybe")
    answer = await register(shared_client, model_of(table), csv(table.drop(columns="ill")), csv(rows))
    baseline = await baseline_of(shared_client, answer.json()["model_id"])
    assert (baseline["kind"], baseline["labelled"]) == ("evaluation", ROWS - 1)
    assert baseline["metrics"]["accuracy"]["value"] > 0.9


@pytest.mark.parametrize(("every", "passed"), [(10, None), (1, False)])
async def test_held_out_labels_that_are_no_class_are_told_and_leave_the_baseline(
    shared_client, table, held_out, every, passed
):
    rows = held_out.assign(ill=held_out["ill"].where(np.arange(ROWS) % every > 0, 2))
    answer = await register(shared_client, model_of(table), csv(table.drop(columns="ill")), csv(rows))
    reference = answer.json()["model_id"]
    told = (await gate_of(shared_client, reference))["held-out labels"]
    assert (told["passed"], told["figures"]["rows"]) == (passed, ROWS // every)
    assert "a label such as 2, which is none of the model's classes (0, 1)" in told["finding"]
    if passed is None:
        assert (await baseline_of(shared_client, reference))["labelled"] == ROWS - ROWS // every


async def test_a_truth_most_of_which_is_odd_fails_the_gate_by_name(shared_client, table, held_out):
    rows = held_out.assign(ill=held_out["ill"].map({0: "well", 1: "ill"}))
    model = model_of(table, LinearRegression)
    answer = await register(shared_client, model, csv(table.drop(columns="ill")), csv(rows))
    failed = (await gate_of(shared_client, answer.json()["model_id"]))["held-out rows"]
    assert failed["passed"] is False
    assert failed["finding"].startswith("column 'ill': 600 of 600 rows left out; the first, row 1,")


ODD_NUMBERS = [
    ("size", "1_000", "float", 'has the wrong type (expected float, got "1_000")'),
    ("size", "١٢", "float", 'has the wrong type (expected float, got "\\u0661\\u0662")'),
    ("size", "9" * 30, "float", None),
    ("size", "9" * 400, "float", "is not finite (expected float, got Infinity)"),
    ("visits", "1_000", "integer", 'has the wrong type (expected integer, got "1_000")'),
    ("visits", str(2**63), "integer", None),
    ("visits", str(2**64), "integer", None),
    ("visits", str(-(2**63) - 1), "integer", None),
    ("visits", "9" * 400, "integer", "is not finite (expected integer, got Infinity)"),
    ("smoker", "1", "boolean", 'has the wrong type (expected boolean, got "1")'),
    ("smoker", "0", "boolean", 'has the wrong type (expected boolean, got "0")'),
]


@pytest.mark.parametrize("row", [0, 57])
@pytest.mark.parametrize(("column", "cell", "kind", "problem"), ODD_NUMBERS)
async def test_text_that_only_python_reads_as_a_number_makes_no_column_text(
    shared_client, table, row, column, cell, kind, problem
):
    numbers = table[["size", "visits", "smoker"]].assign(visits=table["visits"] - 4)
    model = LogisticRegression().fit(numbers, table["ill"])
    answer = await register(shared_client, model, csv(with_cell(numbers, row, column, cell)))
    types, warnings, rows = await told_of(shared_client, answer)
    assert types[column] == kind
    if problem is None:
        assert (warnings, rows) == ([], ROWS)
    else:
        assert (len(warnings), rows) == (1, ROWS - 1)
        assert warnings[0].endswith(f"1 of 600 rows left out; the first, row {row + 1}, {problem}")


@pytest.mark.parametrize(("column", "cell", "kind", "problem"), ODD_NUMBERS)
async def test_such_a_cell_costs_a_table_no_more_than_its_row(
    shared_client, table, column, cell, kind, problem
):
    numbers = table[["size", "visits", "smoker"]].assign(visits=table["visits"] - 4)
    model = LogisticRegression().fit(numbers, table["ill"])
    answer = await register(shared_client, model, csv(numbers))
    await told_of(shared_client, answer)
    checked = await shared_client.post(
        f"/api/models/{answer.json()['model_id']}/drift-check/table",
        content=csv(with_cell(numbers, 57, column, cell)),
        headers={"Content-Type": "text/csv"},
    )
    assert checked.status_code == 200, checked.text
    refused = 0 if problem is None else 1
    assert checked.json()["window"]["rows_refused"] == refused


async def test_codes_of_which_python_reads_each_as_a_number_stay_text(shared_client, table):
    codes = table[["ward"]].replace({"A3": "1_000"})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(codes, table["ill"])
    types, _, rows = await told_of(shared_client, await register(shared_client, model, csv(codes)))
    assert (types, rows) == ({"ward": "string"}, ROWS)


async def test_a_column_none_of_which_a_csv_means_as_a_number_is_refused_by_name(shared_client, table):
    numbers = table[["size", "visits"]].assign(size="1_000")
    model = LogisticRegression().fit(table[["size", "visits"]], table["ill"])
    refused = await register(shared_client, model, csv(numbers))
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/bad-sample")
    assert refused.json()["detail"].startswith("column 'size': 600 of 600 rows left out; the first, row 1,")


@pytest.mark.parametrize("cell", [str(2**64), "1_000"])
async def test_a_number_that_python_alone_reads_costs_held_out_rows_no_more_than_its_row(
    shared_client, table, held_out, cell
):
    answer = await register(
        shared_client,
        model_of(table),
        csv(table.drop(columns="ill")),
        csv(with_cell(held_out, 8, "visits", cell)),
    )
    baseline = await baseline_of(shared_client, answer.json()["model_id"])
    assert (baseline["kind"], baseline["labelled"]) == ("evaluation", ROWS - (cell == "1_000"))


@pytest.mark.parametrize("encoding", [csv, parquet])
@pytest.mark.parametrize(
    "encoder",
    [ColumnTransformer([("c", OneHotEncoder(), ["ward"])]), OneHotEncoder()],
    ids=["told", "not told"],
)
async def test_a_column_of_text_that_is_empty_throughout_is_told_as_the_fault_of_the_sample(
    shared_client, table, encoder, encoding
):
    model = make_pipeline(encoder, LogisticRegression()).fit(table[["ward"]], table["ill"])
    empty = pd.DataFrame({"ward": pd.Series([None] * ROWS, dtype="str"), "other": 1})
    refused = await register(shared_client, model, encoding(empty))
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/bad-sample")
    assert refused.json()["detail"].startswith("the column 'ward' is empty in all rows that were tried")
    assert "send a `signature`" in refused.json()["detail"]


async def test_a_column_of_text_that_is_empty_throughout_is_text_where_the_model_takes_that(
    shared_client, table
):
    wards = ColumnTransformer(
        [("ward", OneHotEncoder(handle_unknown="ignore"), ["ward"])], remainder="passthrough"
    )
    trained = table[["ward", "size"]].assign(ward=table["ward"].where(table.index % 9 > 0))
    model = make_pipeline(wards, LogisticRegression()).fit(trained, table["ill"])
    answer = await register(shared_client, model, csv(trained.assign(ward=None)))
    types, warnings, rows = await told_of(shared_client, answer)
    assert (types, warnings, rows) == ({"ward": "string", "size": "float"}, [], ROWS)
    assert answer.json()["signature"]["inputs"][0]["categories"] == ["12", "17", "A3"]


async def test_a_column_that_parquet_names_twice_is_told_in_words(shared_client, table):
    file = io.BytesIO()
    cells = [pa.array(table["size"]), pa.array(table["size"]), pa.array(table["visits"])]
    pq.write_table(pa.Table.from_arrays(cells, names=["size", "size", "visits"]), file)
    model = LogisticRegression().fit(table[["size", "visits"]], table["ill"])
    refused = await register(shared_client, model, file.getvalue())
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("the file names a column twice: size; leave all but one out")


async def test_held_out_rows_without_a_label_are_counted_in_the_report(shared_client, table, held_out):
    rows = with_cell(with_cell(held_out, range(40, 50), "ill", None), 8, "ill", "unknown")
    answer = await register(shared_client, model_of(table), csv(table.drop(columns="ill")), csv(rows))
    reference = answer.json()["model_id"]
    report = await shared_client.post(f"/api/models/{reference}/validate", json={})
    told = [
        check["finding"]
        for check in report.json()["gate_reports"][0]["checks"]
        if check["check"] == "held-out rows"
    ]
    assert told[0] == "column 'ill': 10 of 600 rows passed over: they have no label"
    assert told[1].startswith("column 'ill': 1 of 590 rows left out; the first, row 9, has the wrong type")
    assert (await baseline_of(shared_client, reference))["labelled"] == ROWS - 11
