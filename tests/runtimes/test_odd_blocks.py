"""Samples of which whole stretches can't be read, whatever parts they are read in."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from app.runtimes.groups import Slicing
from app.runtimes.probe import Prober
from tests.runtimes.fitted import csv

SHAPES = [
    (1001, slice(1000, None)),
    (2001, slice(2000, None)),
    (3000, slice(1000, 2000)),
    (5000, slice(0, 1000)),
    (5001, slice(5000, None)),
    (20_000, slice(2000, 3500)),
]


def table_of(rows: int) -> pd.DataFrame:
    generator = np.random.default_rng(4)
    frame = pd.DataFrame({"a": generator.normal(size=rows).round(3), "b": generator.random(rows) < 0.4})
    return frame.assign(c=generator.choice(["u", "v"], rows), y=(frame["a"] > 0).astype(int))


@cache
def model_of(columns: tuple[str, ...]) -> Any:
    encoded = make_column_transformer((OneHotEncoder(), ["c"][: len(columns) - 2]), remainder="passthrough")
    table = table_of(500)
    return make_pipeline(encoded, LogisticRegression()).fit(table[list(columns)], table["y"])


@pytest.mark.parametrize("columns", [("a", "b"), ("a", "b", "c")], ids=["numbers", "with text"])
@pytest.mark.parametrize(("rows", "odd"), SHAPES)
async def test_a_stretch_of_odd_rows_costs_these_rows_wherever_the_sample_is_read(
    rows: int, odd: slice, columns: tuple[str, ...], tmp_path: Path, prober: Prober
) -> None:
    table = table_of(rows)
    table["a"] = table["a"].astype(object)
    table.iloc[odd, 0] = "abc"
    count = len(table.iloc[odd])
    skops.io.dump(model_of(columns), tmp_path / "model.skops")
    sample = csv(table[list(columns)])
    report = await prober.probe(tmp_path, sample=sample)
    assert report.warnings[0].startswith(f"column 'a': {count:,} of {rows:,} rows left out")
    signed = {"signature": report.signature}

    made = await prober.profile_reference(tmp_path, sample=sample, **signed)
    assert made.rows == rows - count
    planned = signed | {"plan": made.plan}
    counted = await prober.profile_table(table=sample, **planned)
    assert (counted.rows, counted.refused) == (rows - count, count)
    assert counted.reasons == {("a", "has the wrong type"): count}
    apart = await prober.profile_slices(sample=sample, by=Slicing(1, 20), **planned)
    assert sum(of_group for of_group, _ in apart.slices) == rows - count

    held_out = csv(table[["c", "y", "b", "a"]])  # in another order, and of "numbers" with a column more
    answers = await prober.answer_table(tmp_path, table=held_out, target="y", **signed)
    assert answers.truth == table["y"].drop(table.index[odd]).tolist()
    assert np.mean(np.equal(answers.prediction, answers.truth)) > 0.95
    assert set(answers.groups) >= {"b", "c"}


async def test_a_table_none_of_which_can_be_read_is_counted(tmp_path: Path, prober: Prober) -> None:
    columns = ("a", "b", "c")
    skops.io.dump(model_of(columns), tmp_path / "model.skops")
    table = table_of(1500)[list(columns)]
    report = await prober.probe(tmp_path, sample=csv(table))
    made = await prober.profile_reference(tmp_path, sample=csv(table), signature=report.signature)
    counted = await prober.profile_table(
        table=csv(table.assign(a="abc")), signature=report.signature, plan=made.plan
    )
    assert (counted.rows, counted.refused, counted.sections) == (0, 1500, None)
