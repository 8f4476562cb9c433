"""M6, M7, M11: slices, fairness, business value, returns, causes and estimates of a window, over HTTP."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn import datasets, metrics
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression

from app.core import clock
from app.evidence.outcome_sums import start_of
from app.registry.queries import find_version
from tests.evidence.making import log_requests, scored_request
from tests.monitoring.test_performance import Deployed, cancer, clinic, csv, register  # noqa: F401 - fixtures
from tests.monitoring.test_performance_watch import id_at

ADULT = Path(__file__).resolve().parents[3] / "shared" / "data" / "adult_census"


async def test_slices_are_told_as_scikit_learn_tells_them(clinic):  # noqa: F811
    await clinic.label(clinic.ids, clinic.truth)
    await clinic.check_when(len(clinic.ids))
    told = (await clinic.check(slice_by="x0"))["slices"]
    assert (told["labelled"], sum(each["labelled"] for each in told["groups"])) == (369, 369)
    cuts = np.unique(np.quantile(clinic.rows[:, 0], [0.25, 0.5, 0.75], method="inverted_cdf"))
    codes = np.searchsorted(cuts, clinic.rows[:, 0], side="left")
    for code, group in enumerate(told["groups"]):
        mine = codes == code
        oracle = metrics.accuracy_score(np.array(clinic.truth)[mine], np.array(clinic.answers)[mine])
        assert group["metrics"]["accuracy"]["value"] == pytest.approx(oracle)
    assert told["groups"][0]["group"].startswith("up to ")


async def test_worth_and_returns_are_told_from_labels_and_their_values(clinic):  # noqa: F811
    generator = np.random.default_rng(1)
    returns = generator.normal(0.001, 0.01, len(clinic.ids)).round(5).tolist()
    seen = [f"2026-01-01T{i // 60:02}:{i % 60:02}:00Z" for i in range(len(returns))]
    await clinic.label(clinic.ids, clinic.truth, value=returns, observed_at=seen)
    await clinic.check_when(len(clinic.ids))
    formula = "10 if prediction == actual else -50"
    told = await clinic.check(value=formula, returns=True, periods_per_year=252)
    right = np.array(clinic.truth) == np.array(clinic.answers)
    worth = np.where(right, 10, -50)
    assert told["value"]["mean"]["value"] == pytest.approx(worth.mean())
    assert (told["value"]["total"], told["value"]["undefined"]) == (worth.sum(), 0)
    series = np.array(returns)
    sharpe = series.mean() / series.std(ddof=1) * np.sqrt(252)
    assert told["returns"]["metrics"]["sharpe_ratio"]["value"] == pytest.approx(sharpe)
    wealth = np.concatenate([[1.0], np.cumprod(1 + series)])
    drawdown = (1 - wealth / np.maximum.accumulate(wealth)).max()
    assert told["returns"]["metrics"]["maximum_drawdown"]["value"] == pytest.approx(drawdown)
    assert told["returns"]["metrics"]["win_rate"]["value"] == pytest.approx((series > 0).mean())


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ({"slice_by": "nothing"}, "is no column of this version; its columns are x0"),
        ({"sensitive": "nothing"}, "is no column"),
        ({"sensitive": "x0", "favourable": "yes"}, "must be one of the classes 0, 1"),
        ({"value": "__import__('os')"}, "value"),
        ({"value": "prediction +"}, "can't be read"),
        ({"periods_per_year": 0}, "periods_per_year"),
        ({"value": "1 if prediction == '1' else 0"}, "'1' is no label of this model; they are 0, 1"),
        ({"value": "value * (2 != actual)"}, "2 is no label of this model; they are 0, 1"),
        ({"value": "prediction == -(-7)"}, "7 is no label of this model; they are 0, 1"),
        ({"value": "prediction == 3 + 4.5"}, "7.5 is no label of this model; they are 0, 1"),
        (
            {"value": "(prediction if value > 0 else actual) == 7"},
            "7 is no label of this model; they are 0, 1",
        ),
    ],
)
async def test_what_cannot_be_told_is_refused_with_the_reason(clinic, order, problem):  # noqa: F811
    assert problem in json.dumps(await clinic.check(status=422, **order))


async def test_what_no_row_has_is_told_as_nothing(clinic):  # noqa: F811
    """No value with the labels, and a formula that is undefined for each; then gains alone, and as many zeros."""
    await clinic.label(clinic.ids, clinic.truth)
    await clinic.check_when(len(clinic.ids))
    told = await clinic.check(value="prediction / 0 + (prediction == True)", returns=True)
    assert (told["value"]["undefined"], told["value"]["total"]) == (369, None)
    for metric in told["returns"]["metrics"].values():
        assert "send `value`" in metric["insufficient_data"]
    await clinic.label(clinic.ids, clinic.truth, value=[0.01, 0.0] * 184 + [0.02])
    told = (await clinic.check_when(len(clinic.ids), returns=True))["returns"]["metrics"]
    drawdown = told["maximum_drawdown"]
    assert (str(drawdown["value"]), drawdown["rows"]) == ("0.0", 369)
    assert (told["win_rate"]["value"], told["win_rate"]["rows"]) == (1.0, 185)


async def test_a_window_without_labels_answers_all_questions_and_proves_nothing(clinic):  # noqa: F811
    told = await clinic.check(slice_by="x0", sensitive="x1", value="value", returns=True, causes=True)
    assert (told["slices"]["groups"], told["value"]["rows"], told["returns"]["periods"]) == ([], 0, 0)
    assert told["value"]["mean"]["insufficient_data"]
    assert "are needed" in told["estimated"]["insufficient_data"]
    assert "are needed" in told["causes"]["insufficient_data"]
    assert told["recommendation"] == "NO_ACTION_NEEDED"


HOURS = timedelta(hours=1)


@dataclass
class Past:
    """A version with rows of past hours in its log, answered by the model itself."""

    client: object
    database: object
    directory: Path
    deployed: Deployed
    model: object
    hour: datetime = field(default_factory=lambda: start_of(clock.now(), 60))

    async def answer(self, rows, hours_ago, **made_of):
        """Log rows as asked so many hours ago; their ids and answers."""
        async with self.database.reads() as session:
            version = await find_version(session, self.deployed.name, 1)
        at = self.hour - hours_ago * HOURS
        ids = [id_at(at + timedelta(milliseconds=100 * i)) for i in range(len(rows))]
        classes = hasattr(self.model, "predict_proba")
        await log_requests(
            self.database, self.directory,
            scored_request(
                len(rows), ids=ids, model=self.deployed.name, version_id=version.id, **{"arm": None} | made_of, features=rows,
                column_types=("float",) * rows.shape[1], predictions=self.model.predict(rows).tolist(),
                probabilities=self.model.predict_proba(rows) if classes else None,
            ),
        )  # fmt: skip
        return [str(each) for each in ids], self.model.predict(rows)

    async def check(self, since, until, **order):
        window = {
            "since": (self.hour - since * HOURS).isoformat(),
            "until": (self.hour - until * HOURS).isoformat(),
        }
        return await self.deployed.check(**window, **{"maturity_hours": 0} | order)


@pytest.fixture
async def past(client, database, tmp_path):
    async def begin(model, rows, **metadata):
        name = await register(client, model, rows, **metadata)
        return Past(client, database, tmp_path / "past", Deployed(client, name, rows, []), model)

    return begin


async def test_without_labels_accuracy_is_estimated_from_earlier_ones(past):
    """Calibrated probabilities, and rows that move to where the model is less sure, before any label of them comes."""
    generator = np.random.default_rng(4)
    table = generator.normal(size=(9000, 3)).round(4)
    truth = label(generator, table)
    model = LogisticRegression(C=1e6).fit(table[:3000], truth[:3000])
    stream = await past(model, table[:3000], metrics={"accuracy": 0.88})
    ids, _ = await stream.answer(table[3000:6000], 5)
    await stream.deployed.label(ids, truth[3000:6000].tolist())
    harder = (table[6000:] * 0.15).round(4)
    true = label(generator, harder)
    ids, answers = await stream.answer(harder, 3)
    expected = metrics.accuracy_score(true, answers)
    told = await stream.check(3, 1)
    block = told["estimated"]
    assert "Concept drift is invisible" in block["warning"]
    assert (block["rows"], block["learnt_from"], block["corrected_by"]) == (3000, 3000, 0)
    assert block["metrics"]["accuracy"]["value"] == pytest.approx(expected, abs=0.03)
    assert (block["finding"], told["finding"]) == ("fallen", "insufficient_data")
    assert told["recommendation"] == "RETRAIN_IMMEDIATELY"
    await stream.deployed.label(ids[:500], true[:500].tolist())
    told = await stream.check(3, 1, causes=True)
    assert told["estimated"]["corrected_by"] == 500
    assert told["estimated"]["metrics"]["accuracy"]["value"] == pytest.approx(expected, abs=0.03)
    assert {each["feature"] for each in told["causes"]["features"]} == {"x0", "x1", "x2"}
    assert told["causes"]["change_of_loss"] > 0.1


def label(generator, table):
    return (generator.random(len(table)) < 1 / (1 + np.exp(-3 * table.sum(axis=1)))).astype(int)


async def test_arms_and_shadows_are_told_apart(past):
    generator = np.random.default_rng(8)
    table = generator.normal(size=(1000, 3)).round(4)
    truth = label(generator, table)
    model = LogisticRegression().fit(table, truth)
    stream = await past(model, table)
    for hours_ago, made_of, rows in ((3, {"arm": "a"}, 60), (2, {"arm": "b"}, 70), (2, {"shadow": True}, 80)):
        ids, answers = await stream.answer(table[:rows], hours_ago, **made_of)
        right = answers if made_of.get("arm") == "a" else 1 - answers
        await stream.deployed.label(ids, right.tolist())
    told = [
        await stream.check(4, 1, **order)
        for order in ({}, {"arm": "a"}, {"arm": "b"}, {"shadow": True}, {"arm": "c"})
    ]
    assert [each["window"]["labelled"] for each in told] == [130, 60, 70, 80, 0]
    values = [each["metrics"]["accuracy"]["value"] for each in told]
    assert values == [pytest.approx(60 / 130), 1.0, 0.0, 0.0, None]
    assert (
        told[0]["effective_labels"] < 20 < told[0]["window"]["compared_labelled"]
    )  # one half right, the other wrong
    assert told[0]["design_effect"] > 20
    assert told[4]["design_effect"] is None
    assert (await stream.check(4, 1, arm="a", slice_by="x0"))["slices"]["labelled"] == 60
    elsewhere = await stream.deployed.check(f"{stream.deployed.name}:1", params={"environment": "staging"})
    assert elsewhere["window"]["rows"] == 0


async def test_the_column_that_moved_is_the_first_cause(past):
    generator = np.random.default_rng(5)
    table = generator.normal(size=(6000, 3)).round(4)

    def true(rows):
        return rows.sum(axis=1) + generator.normal(size=len(rows)) * (0.2 + np.abs(rows[:, 1]))

    model = LinearRegression().fit(table[:2000], true(table[:2000]))
    stream = await past(model, table[:2000], metrics={"mae": 0.8})
    ids, _ = await stream.answer(table[2000:4000], 5)
    await stream.deployed.label(ids, true(table[2000:4000]).tolist())
    moved = (table[4000:] * [1.0, 2.0, 1.0]).round(4)
    ids, answers = await stream.answer(moved, 3)
    actual = true(moved)
    unlabelled = (await stream.check(3, 1))["estimated"]["metrics"]["mae"]
    assert unlabelled["value"] > 1.2 * 0.8
    await stream.deployed.label(ids, actual.tolist())
    told = await stream.check(3, 1)
    assert told["finding"] == "fallen"
    [first, *_] = told["causes"]["features"]
    assert (first["feature"], first["drift"]["low"] > 0) == ("x1", True)
    assert told["metrics"]["mae"]["value"] == pytest.approx(np.abs(actual - answers).mean(), rel=1e-3)


async def test_a_detector_is_told_by_what_it_raised_and_missed(shared_client):
    generator = np.random.default_rng(6)
    table = generator.normal(size=(1000, 3)).round(4)
    model = IsolationForest(n_estimators=20, random_state=1).fit(table[:500])
    name = await register(shared_client, model, table[:500])
    rows = np.concatenate([table[500:], table[:100] + 6.0]).round(4)
    deployed = Deployed(shared_client, name, rows, [1] * 500 + [-1] * 100)
    await deployed.ask_all()
    await deployed.label(deployed.ids[::2], deployed.truth[::2])
    told = await deployed.check_when(300)
    truth, answers = deployed.truth[::2], deployed.answers[::2]
    for score in ("precision", "recall", "f1"):
        oracle = getattr(metrics, f"{score}_score")(truth, answers, pos_label=-1)
        assert told["metrics"][score]["value"] == pytest.approx(oracle), score
    alerts = deployed.answers.count(-1) / len(deployed.answers)
    assert told["metrics"]["alert_rate"]["value"] == pytest.approx(alerts)
    assert (told["task"], told["finding"], told["window"]["label_coverage"]) == (
        "anomaly",
        "no_baseline",
        0.5,
    )


async def test_labels_that_no_detector_answers_are_refused_with_what_they_mean(shared_client):
    table = np.random.default_rng(6).normal(size=(400, 3)).round(4)
    model = IsolationForest(n_estimators=20, random_state=1).fit(table[:200])
    name = await register(shared_client, model, table[:200], held_out=(table[200:300], [-1, 1] * 50))
    deployed = Deployed(shared_client, name, table[200:], [1] * 200)
    await deployed.ask_all()
    told = await deployed.label(deployed.ids[:5], [0, 2, True, "anomaly", -1.0])
    assert (told["accepted"] + told["pending"], len(told["refused"])) == (1, 4)
    assert told["refused"][0]["problem"] == (
        "actual: 0 is none of the classes -1, 1: -1 is an anomaly, 1 is none, as the detector answers"
    )
    held_out = np.column_stack([table[200:300], [0, 1] * 50])
    files = [
        ("artifact", ("model.skops", skops.io.dumps(model))),
        ("reference", ("sample.csv", csv("x0,x1,x2", table[:200]))),
        ("evaluation", ("held_out.csv", csv("x0,x1,x2,target", held_out))),
    ]
    metadata = json.dumps({"name": f"{name}-0", "target": "target"})
    answer = await shared_client.post("/api/models", data={"metadata": metadata}, files=files)
    assert answer.status_code == 201, answer.text
    answer = await shared_client.post(f"/api/models/{name}-0:1/validate", json={"reason": "test"})
    assert "must be -1 for an anomaly or 1 for none" in answer.text


async def test_many_classes_are_told_each_by_itself(shared_client):
    rows, truth = datasets.load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=200).fit(rows[:800] / 16, truth[:800])
    name = await register(shared_client, model, rows[:800] / 16, metrics={"accuracy": 0.92})
    deployed = Deployed(shared_client, name, rows[800:] / 16, truth[800:].tolist())
    await deployed.ask_all()
    await deployed.label(deployed.ids, deployed.truth)
    told = await deployed.check_when(len(deployed.ids))
    assert told["metrics"]["f1_macro"]["value"] == pytest.approx(
        metrics.f1_score(deployed.truth, deployed.answers, average="macro")
    )
    odds = np.array([[each["probabilities"][str(k)] for k in range(10)] for each in deployed.told])
    auc = told["metrics"]["roc_auc"]
    oracle = metrics.roc_auc_score(deployed.truth, odds, multi_class="ovr")
    assert abs(auc["value"] - oracle) <= auc["bin_error"] + 1e-9
    assert [each["label"] for each in told["per_class"]] == [str(k) for k in range(10)]


async def test_labels_that_became_the_baseline_are_told_as_that(past):
    generator = np.random.default_rng(9)
    table = generator.normal(size=(700, 3)).round(4)
    truth = label(generator, table)
    stream = await past(LogisticRegression().fit(table, truth), table)
    ids, answers = await stream.answer(table, 3)
    await stream.deployed.label(ids, truth.tolist())
    told = await stream.check(4, 1)
    baseline = told["baseline"]
    assert (baseline["kind"], baseline["labelled"]) == ("first_labels", 700)
    assert baseline["metrics"]["accuracy"]["value"] == pytest.approx((answers == truth).mean())
    assert (told["finding"], told["window"]["compared_labelled"]) == ("insufficient_data", 0)
    assert f"The 700 labels until {stream.hour - 2 * HOURS:%Y-%m-%d %H:%M} UTC" in told["recommendations"][-1]
    assert "baseline" not in " ".join((await stream.check(2, 1))["recommendations"])


@pytest.mark.skipif(not ADULT.is_dir(), reason="the census data set is not beside the project")
async def test_groups_of_people_are_compared_with_intervals(shared_client):
    frame = pd.read_csv(ADULT / "adult-train.csv.gz", header=None, nrows=6000, skipinitialspace=True)
    people, truth = frame[9].to_numpy(), (frame[14] == ">50K").astype(int).to_numpy()
    table = np.column_stack([frame[[0, 4, 10, 11, 12]].to_numpy(float), (people == "Female").astype(float)])
    scale = table.std(axis=0) + 1e-9
    model = LogisticRegression(max_iter=500).fit(table[:3000] / scale, truth[:3000])
    rows = (table / scale).round(6)
    name = await register(shared_client, model, rows[:3000], metrics={"accuracy": 0.8})
    deployed = Deployed(shared_client, name, rows[3000:], truth[3000:].tolist())
    await deployed.ask_all()
    await deployed.label(deployed.ids, deployed.truth)
    await deployed.check_when(len(deployed.ids))
    column = f"x{table.shape[1] - 1}"
    told = (await deployed.check(sensitive=column))["fairness"]
    women = people[3000:] == "Female"
    answers, actual = np.array(deployed.answers), np.array(deployed.truth)
    selected = told["rates"]["selection_rate"]["groups"]
    other, group = sorted(selected, key=float)
    assert selected[other]["value"] == pytest.approx(answers[~women].mean())
    assert selected[group]["value"] == pytest.approx(answers[women].mean())
    recall = told["rates"]["true_positive_rate"]["groups"][group]["value"]
    assert recall == pytest.approx(metrics.recall_score(actual[women], answers[women]))
    [gap] = told["rates"]["selection_rate"]["gaps"]
    assert gap["difference"]["low"] > 0
    assert gap["ratio"]["high"] < 0.8
