"""The first load in a child process: what it reports, and that it can be repeated (R1, R4, R13)."""

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LinearRegression

from app.core.errors import Refusal
from app.runtimes.errors import BadSample, BadSignature, OutputsChanged
from app.runtimes.probe import Prober
from app.runtimes.schema import Signature
from tests.runtimes.fitted import MAKERS, csv, fitted, parquet, wine


@pytest.mark.parametrize("name", list(MAKERS))
async def test_every_kind_of_model_is_probed_and_gives_its_answers_again(
    name: str, tmp_path: Path, prober: Prober
) -> None:
    one = fitted(name)
    one.write(tmp_path)
    report = await prober.probe(tmp_path, sample=one.sample)
    assert len(report.sample_input) == min(100, len(one.table))
    assert len(report.sample_output["predictions"]) == len(report.sample_input)
    assert report.latency_ms_per_row > 0
    assert Signature.from_json(report.signature).to_json() == report.signature
    stored = {"signature": report.signature, "sample_input": report.sample_input}
    await prober.check(tmp_path, **stored, sample_output=report.sample_output)


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in ("onnx", "ordinal pipeline")])
async def test_a_model_is_probed_without_a_sample_where_it_tells_enough(
    name: str, tmp_path: Path, prober: Prober
) -> None:
    fitted(name).write(tmp_path)
    report = await prober.probe(tmp_path)
    assert len(report.sample_input) == 1
    assert "no reference sample" in report.warnings[0]


async def test_a_report_says_what_the_version_needs_to_know(tmp_path: Path, prober: Prober) -> None:
    one = fitted("random forest")
    one.write(tmp_path)
    report = await prober.probe(tmp_path, sample=one.sample)
    assert (report.format, report.file, report.framework) == ("skops", "model.skops", "scikit-learn")
    assert (report.algorithm, report.classes, report.labels_from_probabilities) == (
        "RandomForestClassifier",
        [0, 1, 2],
        True,
    )
    assert report.requirements["scikit-learn"].startswith("1.")
    assert report.feature_importances is not None
    assert list(report.feature_importances) == list(one.table.columns)
    assert report.memory_bytes > 0
    assert report.warnings == []


async def test_the_sample_tells_types_nulls_categories_and_ranges(tmp_path: Path, prober: Prober) -> None:
    one = fitted("one-hot pipeline")
    one.write(tmp_path)
    report = await prober.probe(tmp_path, sample=one.sample)
    columns = {column["name"]: column for column in report.signature["inputs"]}
    assert columns["size"] == {
        "name": "size",
        "type": "string",
        "nullable": True,
        "categories": ["large", "small"],
    }
    assert columns["visits"] == {
        "name": "visits",
        "type": "integer",
        "nullable": False,
        "minimum": 0,
        "maximum": 4,
    }
    assert columns["smoker"]["type"] == "boolean"
    assert columns["mean radius"]["type"] == "float"
    assert report.signature["output"] == "string"


async def test_integers_with_gaps_in_the_sample_are_nullable_floats(tmp_path: Path, prober: Prober) -> None:
    one = fitted("histogram boosting")
    one.write(tmp_path)
    whole = one.table.astype("int64").astype("Int64")
    whole.iloc[3, 0] = pd.NA
    report = await prober.probe(tmp_path, sample=csv(whole))
    assert report.signature["inputs"][0]["type"] == "float"
    assert report.signature["inputs"][0]["nullable"] is True
    assert report.signature["inputs"][1]["type"] == "integer"


async def test_columns_are_found_by_name_in_any_order(tmp_path: Path, prober: Prober) -> None:
    one = fitted("logistic regression")
    one.write(tmp_path)
    shuffled = one.table[one.table.columns[::-1]].assign(target=1)
    report = await prober.probe(tmp_path, sample=parquet(shuffled))
    assert [column["name"] for column in report.signature["inputs"]] == list(one.table.columns)


@pytest.mark.parametrize(
    ("sample", "problem"),
    [
        (b"\0\1\2", "no rows"),
        (b"a,b\n", "no rows"),
        (b"PAR1garbagePAR1", "neither CSV nor Parquet"),
        (csv(wine()[0].drop(columns="alcohol")), "lacks columns that the model wants: alcohol"),
        (csv(wine()[0].assign(alcohol="high")), "column 'alcohol': 178 of 178 rows left out"),
    ],
)
async def test_a_sample_that_does_not_fit_is_refused(
    sample: bytes, problem: str, tmp_path: Path, prober: Prober
) -> None:
    fitted("random forest").write(tmp_path)
    with pytest.raises(Refusal, match=problem) as refusal:
        await prober.probe(tmp_path, sample=sample)
    assert refusal.value.status == 422


async def test_a_sample_with_too_many_columns_for_a_nameless_model_is_refused(
    tmp_path: Path, prober: Prober
) -> None:
    one = fitted("nameless")
    one.write(tmp_path)
    with pytest.raises(BadSample, match="leave out everything else"):
        await prober.probe(tmp_path, sample=csv(one.table.assign(target=1)))


async def test_a_signature_of_the_caller_wins_and_is_completed(tmp_path: Path, prober: Prober) -> None:
    one = fitted("random forest")
    one.write(tmp_path)
    columns = [{"name": name, "type": "float", "nullable": False} for name in one.table.columns]
    given = {"inputs": columns, "task": "classification", "output": "integer"}
    report = await prober.probe(tmp_path, sample=one.sample, signature=given)
    assert report.signature == given | {"classes": [0, 1, 2]}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"inputs": [{"name": "only", "type": "float"}]}, "inputs"),
        ({"classes": ["a", "b"]}, "classes"),
        ({"classes": ["a", "b", "c"]}, "classes"),
        ({"task": "magic"}, "task"),
    ],
)
async def test_a_signature_that_contradicts_the_model_is_refused(
    change: dict[str, object], field: str, tmp_path: Path, prober: Prober
) -> None:
    one = fitted("random forest")
    one.write(tmp_path)
    columns = [{"name": name, "type": "float"} for name in one.table.columns]
    with pytest.raises(BadSignature) as refusal:
        await prober.probe(tmp_path, signature={"inputs": columns, "task": "classification"} | change)
    assert list(refusal.value.problems) == [field]


async def test_another_model_under_the_same_name_is_noticed(tmp_path: Path, prober: Prober) -> None:
    one = fitted("random forest")
    one.write(tmp_path)
    report = await prober.probe(tmp_path, sample=one.sample)
    fitted("gradient boosting").write(tmp_path)
    with pytest.raises(OutputsChanged) as refusal:
        await prober.check(
            tmp_path,
            signature=report.signature,
            sample_input=report.sample_input,
            sample_output=report.sample_output,
        )
    assert refusal.value.rows
    assert refusal.value.largest_difference is not None


async def test_a_fork_server_that_died_is_started_again(tmp_path: Path) -> None:
    fitted("ridge").write(tmp_path)
    async with Prober(seconds=30, memory_bytes=1024**3) as prober:
        await prober.probe(tmp_path)
        assert prober._server is not None
        os.kill(prober._server.pid, signal.SIGKILL)
        assert (await prober.probe(tmp_path)).algorithm == "Ridge"


async def test_several_probes_at_once_get_their_own_answers(tmp_path: Path, prober: Prober) -> None:
    names = ["ridge", "random forest", "logistic regression", "support vectors"] * 2
    for name in set(names):
        (tmp_path / name).mkdir()
        fitted(name).write(tmp_path / name)
    reports = await asyncio.gather(*(prober.probe(tmp_path / name) for name in names))
    wanted = {"ridge": "Ridge", "random forest": "RandomForestClassifier", "support vectors": "SVC"}
    assert [report.algorithm for report in reports] == [
        wanted.get(name, "LogisticRegression") for name in names
    ]


async def test_probing_does_not_hold_the_event_loop(tmp_path: Path, prober: Prober) -> None:
    one = fitted("random forest")
    one.write(tmp_path)
    probe = asyncio.create_task(prober.probe(tmp_path, sample=one.sample))
    turns = 0
    while not probe.done():
        await asyncio.sleep(0.005)
        turns += 1
    await probe
    assert turns > 10, "a child takes a second or two to load and try a model"


async def test_text_that_can_not_be_stored_is_refused_wherever_it_comes_from(
    tmp_path: Path, prober: Prober
) -> None:
    one = fitted("one-hot pipeline")
    one.write(tmp_path)
    with pytest.raises(BadSignature, match="categories"):
        await prober.probe(tmp_path, sample=parquet(one.table.assign(size="a\0b")))


async def test_a_model_that_answers_nan_is_reported_with_null(tmp_path: Path, prober: Prober) -> None:
    table, _ = wine()
    model = LinearRegression().fit(table, table["alcohol"])
    model.coef_[0] = np.nan
    skops.io.dump(model, tmp_path / "model.skops")
    report = await prober.probe(tmp_path, sample=parquet(table))
    assert set(report.sample_output["predictions"]) == {None}


@pytest.mark.parametrize("rows", [1, 29])
async def test_a_sample_that_nothing_can_be_held_against_is_warned_of(
    tmp_path: Path, prober: Prober, rows: int
) -> None:
    fitted("random forest").write(tmp_path)
    few = pd.concat([wine()[0].head(rows)] * 50)
    (warning,) = (await prober.probe(tmp_path, sample=csv(few))).warnings
    assert warning.startswith(f"the reference holds {rows} different rows, {50 * rows:,} in all: too few")


async def test_an_empty_sample_is_none(tmp_path: Path, prober: Prober) -> None:
    fitted("random forest").write(tmp_path)
    with pytest.raises(BadSample, match="an empty file"):
        await prober.probe(tmp_path, sample=b"")


@pytest.mark.parametrize(
    "value", [pd.Timestamp("2026-01-01"), [1.0, 2.0], b"x"], ids=["time", "list", "bytes"]
)
async def test_a_column_of_parquet_that_no_model_takes_is_named_with_its_type(
    tmp_path: Path, prober: Prober, value: object
) -> None:
    fitted("random forest").write(tmp_path)
    table = wine()[0]
    odd = parquet(table.assign(alcohol=[value] * len(table)))
    with pytest.raises(
        BadSample, match=r"the column alcohol holds \S+( values)?; use numbers, booleans or text"
    ):
        await prober.probe(tmp_path, sample=odd)
