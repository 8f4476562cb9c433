"""M9 over HTTP: a sample whose rows have times."""

import io
import json

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from app.core import clock
from app.core.ids import new_id
from tests.monitoring.making import profiled
from tests.monitoring.test_drift_slices import ask

NAMES = ["x0", "x1"]


def sample(weeks, *, has_names=True):
    """A model, and hourly batches of rows whose first column goes with the day; newest first, as nobody would expect."""
    generator = np.random.default_rng(6)
    times = pd.date_range("2026-01-05", periods=weeks * 168 * 12, freq="5min", tz="UTC")
    table = generator.normal(size=(len(times), 2))
    table[:, 0] += np.sin(2 * np.pi * times.hour / 24)
    frame = pd.DataFrame(table.round(4), columns=NAMES)
    rows = frame if has_names else frame.to_numpy()
    model = LogisticRegression().fit(rows, (table.sum(axis=1) > 0).astype(int))
    return model, frame.assign(when=times.strftime("%Y-%m-%dT%H:%M:%SZ"))[::-1]


async def register(client, model, frame, **metadata):
    return await client.post(
        "/api/models",
        data={"metadata": json.dumps({"name": f"m-{new_id().hex}", **metadata})},
        files=[
            ("artifact", ("model.skops", io.BytesIO(skops.io.dumps(model)).getvalue())),
            ("reference", ("sample.csv", frame.to_csv(index=False).encode())),
        ],
    )


async def checked(client, reference, **order):
    answer = await client.post(f"/api/models/{reference}/drift-check", json=order)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("has_names", [True, False])
async def test_a_sample_with_times_gives_its_week_and_its_order(shared_client, has_names):
    model, frame = sample(2, has_names=has_names)
    answer = await register(shared_client, model, frame, reference_time="when")
    assert answer.status_code == 201, answer.text
    reference = answer.json()["model_id"]
    assert [column["name"] for column in answer.json()["signature"]["inputs"]] == NAMES
    await profiled(shared_client, reference)
    told = (await checked(shared_client, reference, window_hours=1))["reference"]
    assert (told["in_time"], told["season"], told["rows"]) == (True, "of_reference", len(frame))


async def test_a_sample_without_times_waits_for_the_week(shared_client):
    model, frame = sample(1)
    answer = await register(shared_client, model, frame.drop(columns="when"))
    reference = answer.json()["model_id"]
    await profiled(shared_client, reference)
    log = await checked(shared_client, reference, window_hours=1)
    assert (log["reference"]["in_time"], log["reference"]["season"]) == (False, "not_known_yet")
    sent = await checked(shared_client, reference, instances=frame[NAMES].head(50).to_numpy().tolist())
    assert (sent["reference"]["season"], sent["effective_rows"] <= 50) == (None, True)


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("then", None, "no column 'then'"),
        (
            "when",
            ["2026-01-01T00:00:00Z", "yesterday", "?"],
            "row 2, is no time (expected a time as in 2026-",
        ),
        ("when", [1.7e9] * 3, "the number 1700000000.0"),
        ("when", [None] * 3, "Write a time as in 2026-03-01T12:00:00Z"),
    ],
)
async def test_a_column_without_times_is_refused_by_name(shared_client, column, values, problem):
    model, frame = sample(1)
    few = frame.head(3) if values is None else frame.head(3).assign(when=values)
    answer = await register(shared_client, model, few, reference_time=column)
    assert answer.status_code == 422, answer.text
    assert problem in answer.text


@pytest.mark.parametrize("has_times", [True, False])
async def test_groups_are_held_against_the_same_hours_where_these_are_known(shared_client, has_times):
    """M9, M11: what goes with the hour is no drift of a group either."""
    generator = np.random.default_rng(8)
    times = pd.date_range("2026-01-05", periods=4 * 168 * 12, freq="5min", tz="UTC")
    frame = pd.DataFrame(generator.normal(size=(len(times), 2)).round(4), columns=NAMES)
    now = [(clock.now().hour + more) % 24 for more in (-1, 0, 1)]  # it may turn meanwhile
    frame["x0"] += np.where(times.hour.isin(now), 3.0, -1.0)
    model = LogisticRegression().fit(frame, (frame.sum(axis=1) > 0).astype(int))
    told = {"reference_time": "when"} if has_times else {}
    sample = frame.assign(when=times.strftime("%Y-%m-%dT%H:%M:%SZ")) if has_times else frame
    reference = (await register(shared_client, model, sample, **told)).json()["model_id"]
    await profiled(shared_client, reference)
    for verb in ("validate", "promote"):
        answer = await shared_client.post(f"/api/models/{reference}/{verb}", json={"reason": "test"})
        assert answer.status_code == 200, answer.text
    rows = generator.normal([3.0, 0.0], size=(300, 2))
    await ask(shared_client, reference, pd.DataFrame(rows, columns=NAMES))
    found = (await checked(shared_client, reference, window_hours=1, slice_by="x1"))["slices"]
    assert found["held_against"] == ("same_hours" if has_times else "all_hours")
    drifted = [group["group"] for group in found["groups"] if group["finding"] == "drift"]
    assert bool(drifted) is not has_times
    held = sum(group["reference_rows"] for group in found["groups"])
    assert held in ((4 * 12, 2 * 4 * 12) if has_times else (len(frame),))


@pytest.mark.parametrize(
    ("cell", "got"), [("?", '\\"?\\"'), (None, "null"), ("2026-13-01T00:00:00Z", "2026-13-01")]
)
@pytest.mark.parametrize("places", [[5], [-1], range(300)], ids=["one", "the last", "many"])
async def test_a_row_without_a_time_is_left_out_by_its_number(shared_client, cell, got, places):
    model, frame = sample(3)
    frame = frame.assign(when=frame["when"].astype(object)).reset_index(drop=True)
    frame.iloc[places, frame.columns.get_loc("when")] = cell
    answer = await register(shared_client, model, frame, reference_time="when")
    assert answer.status_code == 201, answer.text
    version, first = answer.json(), np.arange(len(frame))[places][0] + 1
    assert version["warnings"][0].startswith(
        f"column 'when': {len(places)} of {len(frame):,} rows left out; the first, row {first}, is no time"
    )
    assert got in json.dumps(version["warnings"][0])
    await profiled(shared_client, version["model_id"])
    told = (await checked(shared_client, version["model_id"], window_hours=1))["reference"]
    assert (told["in_time"], told["rows"]) == (True, len(frame) - len(places))


async def test_times_of_a_reference_that_was_not_sent_are_refused(shared_client):
    model, _ = sample(1)
    answer = await shared_client.post(
        "/api/models",
        data={"metadata": json.dumps({"name": f"m-{new_id().hex}", "reference_time": "when"})},
        files=[("artifact", ("model.skops", io.BytesIO(skops.io.dumps(model)).getvalue()))],
    )
    assert answer.status_code == 422
    assert "reference_time" in answer.text
