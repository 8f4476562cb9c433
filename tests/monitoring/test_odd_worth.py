"""M6 over HTTP: what labels and formulas that nobody meant come to in a performance check."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from tests.monitoring.test_performance import Deployed, register

ROWS = 400


@pytest.fixture(scope="module")
def line():
    generator = np.random.default_rng(5)
    rows = generator.normal(size=(2 * ROWS, 3)).round(4)
    truth = rows @ [1.0, -2.0, 0.5] + generator.normal(0, 0.3, len(rows))
    return LinearRegression().fit(rows[:ROWS], truth[:ROWS]), rows, truth.round(4)


@pytest.fixture
async def meter(shared_client, line):
    """A regression in production, all of whose answers are labelled."""
    model, rows, truth = line
    name = await register(shared_client, model, rows[:ROWS], metrics={"mae": 0.3, "mse": 0.1})
    deployed = Deployed(shared_client, name, rows[ROWS:], truth[ROWS:].tolist())
    await deployed.ask_all()
    await deployed.label(deployed.ids, deployed.truth, value=[0.0] * ROWS)
    await deployed.check_when(ROWS)
    return deployed


async def test_one_label_of_any_size_is_worth_what_it_is(meter):
    formula = "-abs(prediction - actual)"
    for power in (100, 104, 130, 150, 154, 155, 200, 300, -300):
        await meter.label(meter.ids[:1], [float(f"1e{power}")])
        for metric in ("mae", "mse"):
            told = await meter.check(
                value=formula, metric=metric, maturity_hours=0, causes=True, slice_by="x0"
            )
        off = -np.abs(np.array([float(f"1e{power}"), *meter.truth[1:]]) - meter.answers)
        worth = told["value"]["mean"]
        assert worth["value"] == pytest.approx(off.mean()), power
        assert worth["low"] < worth["value"] <= worth["high"], power
        assert told["value"]["total"] == pytest.approx(off.sum()), power


async def test_values_that_cancel_out_leave_what_is_left(meter):
    values = [1e308, -1e308, 1e160]
    await meter.label(meter.ids[:3], meter.truth[:3], value=values)
    told = await meter.check(value="value", returns=True, maturity_hours=0)
    worth = told["value"]
    assert (worth["total"], worth["mean"]["value"]) == (1e160, 1e160 / ROWS)
    assert worth["mean"]["low"] < 0 < worth["mean"]["high"]
    assert told["returns"]["metrics"]["sharpe_ratio"]["low"] < 0


async def test_an_interval_or_a_total_beyond_all_numbers_is_told_in_words(meter):
    await meter.label(meter.ids, meter.truth, value=[1.7e308, -1.7e308, 1.7e308, 1.7e308] * (ROWS // 4))
    told = (await meter.check(value="value if actual > -100 else 0", maturity_hours=0))["value"]
    assert told["mean"]["value"] == pytest.approx(0.85e308)
    assert told["total"] is None
    told = (await meter.check(value="value", maturity_hours=0, false_alarm_rate=1e-300))["value"]
    assert "so large" in told["mean"]["insufficient_data"]


@pytest.mark.parametrize(
    "formula", ["prediction == 'a'", "1 if 'a' != (prediction if value else actual) else 0"]
)
async def test_the_answers_of_a_regression_are_compared_with_no_text(meter, formula):
    refused = await meter.check(value=formula, maturity_hours=0, status=422)
    assert refused["detail"].endswith("'a' is a text; this model's answers are numbers")
    told = await meter.check(value="(prediction > 0) == (actual > 1 / 2)", maturity_hours=0)
    assert told["value"]["undefined"] == 0
