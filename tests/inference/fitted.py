"""Models beyond the breast cancer ones: a classifier of mixed columns with nulls, and a regression with two targets."""

import io
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from skops.io import dump

from tests.real_models import csv_of

CITIES = ("Oslo", "Bergen", "Tromsø")


@dataclass(frozen=True)
class Fitted:
    """A fitted model, rows that it knows, and its signature."""

    model: Any
    rows: pd.DataFrame
    signature: dict[str, Any]

    def predict(self, rows):
        """What the model says of rows outside any service."""
        return self.model.predict(pd.DataFrame(rows, columns=self.rows.columns))

    async def bring_to_production(self, client, name):
        file = io.BytesIO()
        dump(self.model, file)
        details = {"name": name, "metrics": {"accuracy": 0.9}, "signature": self.signature}
        files = {
            "artifact": ("model.skops", file.getvalue()),
            "reference": ("reference.csv", csv_of(self.rows)),
        }
        answer = await client.post("/api/models", data={"metadata": json.dumps(details)}, files=files)
        assert answer.status_code == 201, answer.text
        for verb in ("validate", "promote"):
            answer = await client.post(f"/api/models/{name}:1/{verb}", json={"reason": "test"})
            assert answer.status_code == 200, answer.text


@cache
def churn() -> Fitted:
    """Who leaves: an integer that may be null, a number, a truth value and a text."""
    dice = np.random.default_rng(7)
    rows = pd.DataFrame(
        {
            "age": dice.integers(18, 90, 200).astype(float),
            "spend": dice.normal(100, 20, 200).round(2),
            "member": dice.random(200) < 0.5,
            "city": dice.choice(CITIES, 200),
        }
    )
    leaves = np.where((rows.age > 50) ^ rows.member, "leaves", "stays")
    rows.loc[::10, "age"] = np.nan
    columns = make_column_transformer(
        (SimpleImputer(), ["age"]),
        ("passthrough", ["spend", "member"]),
        (OneHotEncoder(), ["city"]),
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(rows, leaves)
    signature = {
        "inputs": [
            {"name": "age", "type": "integer", "nullable": True},
            {"name": "spend", "type": "float"},
            {"name": "member", "type": "boolean"},
            {"name": "city", "type": "string"},
        ],
        "task": "classification",
        "output": "string",
        "classes": ["leaves", "stays"],
    }
    return Fitted(model, rows, signature)


@cache
def plane() -> Fitted:
    """Two numbers of three."""
    dice = np.random.default_rng(7)
    rows = pd.DataFrame(dice.normal(size=(100, 3)), columns=["x", "y", "z"])
    targets = np.column_stack([rows.x + rows.y, rows.y - rows.z])
    inputs = [{"name": name, "type": "float"} for name in rows]
    signature = {"inputs": inputs, "task": "regression", "output": "float"}
    return Fitted(LinearRegression().fit(rows, targets), rows, signature)


FITTED = {"churn": churn, "plane": plane}
