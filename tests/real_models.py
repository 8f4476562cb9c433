"""Real models on real data, trained once a run, and the calls that bring one into production."""

import io
import json
from functools import cache

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops.io import dump


@cache
def data():
    """The breast cancer data: 400 rows to train on, 169 to try."""
    features, target = load_breast_cancer(return_X_y=True, as_frame=True)
    return features[:400], target[:400], features[400:], target[400:]


def skops_bytes(kind="logistic", seed=0):
    return dumped(kind, seed)


@cache
def dumped(kind, seed):
    train, truth, _, _ = data()
    models = {
        "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=1.0 + seed / 10)),
        "boosting": lambda: HistGradientBoostingClassifier(max_iter=30, random_state=seed),
    }
    file = io.BytesIO()
    dump(models[kind]().fit(train, truth), file)
    return file.getvalue()


def csv_of(frame):
    return frame.to_csv(index=False).encode()


async def register(client, name, kind="logistic", seed=0, *, evaluation=False, **metadata):
    """Register a version and return the answer; `native`, so that nothing looks at it later by itself."""
    train, _, rows, truth = data()
    details = {"name": name, "metrics": {"accuracy": 0.95}, "serve_as": "native", **metadata}
    parts = {
        "artifact": ("model.skops", skops_bytes(kind, seed)),
        "reference": ("reference.csv", csv_of(train)),
    }
    if evaluation:
        details["target"] = "benign"
        parts["evaluation"] = ("evaluation.csv", csv_of(rows.assign(benign=truth)))
    return await client.post("/api/models", data={"metadata": json.dumps(details)}, files=parts)


async def bring_to_production(client, name, kind="logistic", seed=0):
    """Register, validate and promote a version; the reference of it."""
    reference = (await register(client, name, kind, seed)).json()["model_id"]
    for verb in ("validate", "promote"):
        answer = await client.post(f"/api/models/{reference}/{verb}", json={"reason": "test"})
        assert answer.status_code == 200, answer.text
    return reference


def instances(count=1):
    return data()[2][:count].to_numpy().tolist()
