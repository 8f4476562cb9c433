"""M6, M8: realised performance beside its baseline, over HTTP, held against scikit-learn's own metrics."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import skops.io
from sklearn import datasets, metrics
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from app.core.ids import new_id
from tests.faults.harness import eventually


@dataclass
class Deployed:
    """A model in production, and what it was asked and answered."""

    client: object
    name: str
    rows: np.ndarray
    truth: list
    ids: list = field(default_factory=list)
    answers: list = field(default_factory=list)

    async def predict(self, rows, reference=None):
        answer = await self.client.post(
            f"/api/models/{reference or self.name}/predict", json={"instances": rows.tolist()}
        )
        assert answer.status_code == 200, answer.text
        told = answer.json()["predictions"]
        return [each["prediction_id"] for each in told], [each["prediction"] for each in told], told

    async def ask_all(self):
        self.ids, self.answers, self.told = await self.predict(self.rows)

    async def label(self, ids, actual, **more):
        items = [
            {"prediction_id": each, "actual": true, **{k: v[i] for k, v in more.items()}}
            for i, (each, true) in enumerate(zip(ids, actual, strict=True))
        ]
        answer = await self.client.post(f"/api/models/{self.name}/feedback", json={"items": items})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def check(self, reference=None, status=200, params=None, **order):
        url = f"/api/models/{reference or self.name}/performance-check"
        answer = await self.client.post(
            url, json=({} if "since" in order else {"window_hours": 1}) | order, params=params
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    async def check_when(self, labelled, reference=None, **order):
        """The answer once the shipper has brought the rows."""
        answers = []

        async def is_there():
            answers.append(await self.check(reference, **order))
            return answers[-1]["window"]["labelled"] >= labelled

        await eventually(is_there, within=60)
        return answers[-1]


async def register(client, model, rows, **metadata):
    """Register a version and promote it; `held_out` are rows with their truth."""
    held_out, name = metadata.pop("held_out", None), metadata.pop("name", None) or f"m-{new_id().hex}"
    files = [("artifact", ("model.skops", skops.io.dumps(model)))]
    header = ",".join(f"x{i}" for i in range(rows.shape[1]))
    files.append(("reference", ("sample.csv", csv(header, rows))))
    if held_out is not None:
        table = np.column_stack([held_out[0], np.array(held_out[1], object)])
        files.append(("evaluation", ("held_out.csv", csv(header + ",target", table))))
        metadata["target"] = "target"
    answer = await client.post(
        "/api/models", data={"metadata": json.dumps({"name": name} | metadata)}, files=files
    )
    assert answer.status_code == 201, answer.text
    reference = answer.json()["model_id"]
    for verb in ("validate", "promote"):
        answer = await client.post(f"/api/models/{reference}/{verb}", json={"reason": "test"})
        assert answer.status_code in (200, 202), answer.text
    return name


def csv(header, rows):
    return "\n".join([header, *(",".join(map(str, row)) for row in rows.tolist())]).encode()


@pytest.fixture(scope="module")
def cancer():
    rows, truth = datasets.load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(rows))
    rows, truth = rows[order][:, :6].round(4), truth[order]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows[:200], truth[:200])
    return model, rows, truth


@pytest.fixture
async def clinic(shared_client, cancer):
    """The breast cancer model in production, having answered the rows that it doesn't know; accuracy was stated."""
    model, rows, truth = cancer
    name = await register(shared_client, model, rows[:200], metrics={"accuracy": 0.93})
    deployed = Deployed(shared_client, name, rows[200:], truth[200:].tolist())
    await deployed.ask_all()
    return deployed


async def test_a_classifier_is_told_as_scikit_learn_tells_it(clinic):
    await clinic.label(clinic.ids, clinic.truth)
    told = await clinic.check_when(len(clinic.ids))
    truth, answers = clinic.truth, clinic.answers
    found = {name: each["value"] for name, each in told["metrics"].items()}
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, answers))
    for average in ("macro", "weighted"):
        for score in ("precision", "recall", "f1"):
            oracle = getattr(metrics, f"{score}_score")(truth, answers, average=average)
            assert found[f"{score}_{average}"] == pytest.approx(oracle), (score, average)
    odds = np.array([each["probabilities"]["1"] for each in clinic.told])
    auc, loss = told["metrics"]["roc_auc"], told["metrics"]["log_loss"]
    assert abs(auc["value"] - metrics.roc_auc_score(truth, odds)) <= auc["bin_error"] + 1e-9
    assert abs(loss["value"] - metrics.log_loss(truth, odds)) <= loss["bin_error"] + 1e-9
    assert told["confusion"] == {
        "labels": ["0", "1"],
        "counts": metrics.confusion_matrix(truth, answers).tolist(),
    }
    precision = metrics.precision_score(truth, answers, average=None)
    assert [each["metrics"]["precision"]["value"] for each in told["per_class"]] == pytest.approx(precision)
    assert (told["finding"], told["metric"], told["baseline"]["kind"]) == ("holding", "accuracy", "stated")
    assert (told["recommendation"], told["insufficient_data"]) == ("NO_ACTION_NEEDED", False)
    window = told["window"]
    assert (window["rows"], window["labelled"], window["label_coverage"]) == (369, 369, 1.0)
    assert (await clinic.check(window_hours=None, window_rows=300))["window"]["labelled"] == 369
    interval = told["metrics"]["accuracy"]
    assert interval["low"] < interval["value"] < interval["high"]


async def test_a_model_that_fell_is_proven_to_have_and_is_to_be_retrained(clinic):
    await clinic.label(clinic.ids, [1 - true if i % 3 == 0 else true for i, true in enumerate(clinic.truth)])
    told = await clinic.check_when(len(clinic.ids))
    assert (told["finding"], told["recommendation"]) == ("fallen", "RETRAIN_IMMEDIATELY")
    assert told["loss"]["low"] > told["threshold"] == 0.15
    assert "proven" in told["recommendations"][0]


async def test_each_label_counts_once_late_early_corrected(clinic):
    ids, truth = clinic.ids, clinic.truth
    wrong = [1 - true for true in truth]
    assert (await clinic.check_when(0))["window"]["labelled"] == 0
    await clinic.label(ids[:100], wrong[:100])  # corrected below
    assert (await clinic.check_when(100))["metrics"]["accuracy"]["value"] < 0.3
    await clinic.label(ids[:100], truth[:100])
    await clinic.label(ids[:100], truth[:100])
    told = await clinic.check_when(100)
    expected = metrics.accuracy_score(truth[:100], clinic.answers[:100])
    assert told["metrics"]["accuracy"]["value"] == pytest.approx(expected)
    assert (told["window"]["labelled"], told["window"]["rows"]) == (100, 369)
    refused = (await clinic.label(ids[100:103], ["yes", None, 7]))["refused"]
    assert len(refused) == 3
    assert (await clinic.check())["window"]["labelled"] == 100


async def test_a_window_without_labels_says_how_many_it_wants(clinic):
    told = await clinic.check(since="2020-01-01T00:00:00Z", until="2020-01-02T00:00:00Z")
    assert (told["finding"], told["insufficient_data"]) == ("insufficient_data", True)
    assert (told["labels_needed"], told["window"]["rows"], told["window"]["label_coverage"]) == (20, 0, None)
    await clinic.label(clinic.ids[:5], clinic.truth[:5])
    few = await clinic.check_when(5)
    assert few["finding"] == "insufficient_data"
    assert "20 rows are needed, there are 5" in few["metrics"]["accuracy"]["insufficient_data"]
    assert few["labels_needed"] == 15
    assert "Too few labels" in few["recommendations"][0]


async def test_a_window_without_labels_and_a_model_without_baseline_asks_for_labels_first(
    shared_client, cancer
):
    model, rows, _ = cancer
    name = await register(shared_client, model, rows[:200])
    for order in ({}, {"metric": "f1_macro"}):
        told = await Deployed(shared_client, name, rows, []).check(**order)
        assert (told["finding"], told["insufficient_data"]) == ("insufficient_data", True)
        [sentence] = told["recommendations"]
        assert "No label of the window can be compared, and there is no baseline yet" in sentence


async def test_predictions_younger_than_labels_take_are_not_compared(clinic):
    await clinic.label(clinic.ids, clinic.truth)
    assert (await clinic.check_when(369))["window"]["compared_labelled"] == 369
    told = await clinic.check(maturity_hours=0.5)
    assert told["window"]["labelled"] == 369
    assert (told["window"]["compared_labelled"], told["insufficient_data"]) == (0, True)
    assert "369 labels are of predictions younger than 30 minutes" in told["recommendations"][-1]
    assert told["recommendations"][-1].endswith(": the `maturity_hours` of this order are that age.")
    told = await clinic.check(metric="roc_auc")
    assert told["finding"] == "no_baseline"
    assert told["recommendations"] == [
        "The baseline does not tell roc_auc, but accuracy: judge one of these as `metric`."
    ]


async def test_history_tells_each_version_by_itself(clinic, cancer):
    model, rows, _ = cancer
    await clinic.label(clinic.ids, clinic.truth)
    await clinic.check_when(len(clinic.ids))
    await register(clinic.client, model, rows[:200], name=clinic.name, parameters={"again": 1})
    ids, answers, _ = await clinic.predict(rows[200:260])
    await clinic.label(ids, [1 - answer for answer in answers])
    second = await clinic.check_when(60)
    assert (second["model_id"], second["window"]["rows"]) == (f"{clinic.name}:2", 60)
    assert second["metrics"]["accuracy"]["value"] == 0.0
    assert second["finding"] == "no_baseline"
    first = await clinic.check(f"{clinic.name}:1")
    assert first["window"]["rows"] == 369
    for granularity in ("hour", "day"):
        history = await clinic.client.get(
            f"/api/models/{clinic.name}/performance-history", params={"granularity": granularity}
        )
        points = {point["version"]: point for point in history.json()["items"]}
        assert points[2]["metrics"]["accuracy"]["value"] == 0.0
        assert points[1]["metrics"]["accuracy"]["value"] > 0.8
        assert (points[1]["rows"], points[2]["label_coverage"]) == (369, 1.0)


async def test_a_regression_is_told_as_scikit_learn_tells_it(shared_client):
    rows, truth = datasets.load_diabetes(return_X_y=True)
    rows = rows.round(6)
    model = LinearRegression().fit(rows[:200], truth[:200])
    held_out = rows[200:300], truth[200:300]
    name = await register(shared_client, model, rows[:200], held_out=held_out)
    deployed = Deployed(shared_client, name, rows[300:], truth[300:].tolist())
    await deployed.ask_all()
    assert len((await deployed.label(deployed.ids[:2], ["12", True]))["refused"]) == 2
    await deployed.label(deployed.ids, deployed.truth)
    told = await deployed.check_when(len(deployed.ids))
    found = {metric: each["value"] for metric, each in told["metrics"].items()}
    for metric, oracle in (
        ("mae", metrics.mean_absolute_error), ("mse", metrics.mean_squared_error),
        ("rmse", metrics.root_mean_squared_error), ("r2", metrics.r2_score),
    ):  # fmt: skip
        assert found[metric] == pytest.approx(oracle(deployed.truth, deployed.answers), rel=1e-4), metric

    async def has_baseline():
        baseline = (await deployed.check())["baseline"]
        return baseline is not None and baseline["kind"] == "evaluation"

    await eventually(has_baseline, within=60)
    told = await deployed.check()
    expected = metrics.mean_absolute_error(held_out[1], model.predict(held_out[0]))
    assert told["baseline"]["metrics"]["mae"]["value"] == pytest.approx(expected, rel=1e-4)
    assert (told["baseline"]["labelled"], told["metric"]) == (100, "mae")
    assert told["confusion"] is None


async def test_held_out_rows_tell_what_probabilities_are_worth_as_well(shared_client, cancer):
    model, rows, truth = cancer
    name = await register(shared_client, model, rows[:200], held_out=(rows[200:400], truth[200:400]))
    deployed = Deployed(shared_client, name, rows[400:], truth[400:].tolist())
    await deployed.ask_all()
    await deployed.label(deployed.ids, deployed.truth)
    await deployed.check_when(len(deployed.ids))

    async def has_baseline():
        return (await deployed.check())["baseline"] is not None

    await eventually(has_baseline, within=60)
    odds = model.predict_proba(rows[200:400])[:, 1]
    for metric, oracle in (("roc_auc", metrics.roc_auc_score), ("log_loss", metrics.log_loss)):
        told = await deployed.check(metric=metric)
        was = told["baseline"]["metrics"][metric]["value"]
        assert was == pytest.approx(oracle(truth[200:400], odds), abs=0.005)
        assert (told["metric"], told["finding"] != "no_baseline") == (metric, True)


async def test_a_few_absurd_labels_are_told_as_what_they_are(shared_client):
    rows, truth = datasets.load_diabetes(return_X_y=True)
    rows = rows.round(6)
    model = LinearRegression().fit(rows[:200], truth[:200])
    name = await register(shared_client, model, rows[:200], metrics={"mae": 45.0})
    deployed = Deployed(shared_client, name, rows[200:], [1e9] * 3 + truth[203:].tolist())
    await deployed.ask_all()
    await deployed.label(deployed.ids, deployed.truth)
    told = await deployed.check_when(len(deployed.ids), value="-abs(prediction - actual)", slice_by="x2")
    found = {metric: each["value"] for metric, each in told["metrics"].items()}
    mae = metrics.mean_absolute_error(deployed.truth, deployed.answers)
    assert (found["mae"], told["value"]["mean"]["value"]) == (pytest.approx(mae), pytest.approx(-mae))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(deployed.truth, deployed.answers))
    assert found["r2"] == pytest.approx(metrics.r2_score(deployed.truth, deployed.answers))
    groups = told["slices"]["groups"]
    weighted = sum(each["labelled"] * each["metrics"]["mae"]["value"] for each in groups)
    assert weighted / len(deployed.ids) == pytest.approx(mae)
    assert not any("capped" in sentence for sentence in told["recommendations"])
    await deployed.label(deployed.ids[:1], [1e308])
    told = await deployed.check()
    assert told["recommendations"][-1].startswith("1 label is so far off that it was capped")


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ({"window_hours": 1, "since": "2026-01-01T00:00:00Z"}, "one of"),
        ({"window_hours": None, "until": "2026-01-01T00:00:00Z"}, "needs `since`"),
        ({"window_hours": None, "since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "before"),
        ({"metric": "beauty"}, "must be one of accuracy"),
        ({"metric": "mae"}, "it has accuracy, f1_macro, f1_weighted, roc_auc, log_loss"),
        ({"threshold": 1}, "threshold"),
        ({"maturity_hours": -1}, "maturity_hours"),
    ],
)
async def test_what_cannot_be_looked_at_is_refused_with_the_reason(clinic, order, problem):
    assert problem in json.dumps(await clinic.check(status=422, **order))


async def test_hours_are_told_of_a_month_at_most(clinic):
    url = f"/api/models/{clinic.name}/performance-history"
    answer = await clinic.client.get(url, params={"days": 90, "granularity": "hour"})
    assert answer.status_code == 422
    assert (
        answer.json()["detail"]
        == "days: must be at most 31 with granularity=hour; take granularity=day for more"
    )
