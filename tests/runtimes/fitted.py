"""Fitted models and their reference samples, made once for all tests of this room."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC


@dataclass(frozen=True)
class Fitted:
    """A model, the rows it was trained on, and how it is written to a file."""

    model: Any
    table: pd.DataFrame
    save: Callable[[Any, Path], None]
    file_name: str = "model.skops"

    def write(self, directory: Path) -> Path:
        path = directory / self.file_name
        self.save(self.model, path)
        return path

    @property
    def sample(self) -> bytes:
        return parquet(self.table)


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def _skops(model: Any, path: Path) -> None:
    skops.io.dump(model, path)


@cache
def breast_cancer() -> tuple[pd.DataFrame, pd.Series]:
    table, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return table, y.map({0: "malignant", 1: "benign"})


@cache
def wine() -> tuple[pd.DataFrame, pd.Series]:
    return load_wine(return_X_y=True, as_frame=True)


@cache
def diabetes() -> tuple[pd.DataFrame, pd.Series]:
    return load_diabetes(return_X_y=True, as_frame=True)


@cache
def mixed() -> tuple[pd.DataFrame, pd.Series]:
    """Numbers, text with gaps, whole numbers and booleans."""
    table, y = breast_cancer()
    frame = table.iloc[:, :3].copy()
    frame["size"] = np.where(frame["mean radius"] > 14, "large", "small")
    frame.loc[::7, "size"] = None
    frame["visits"] = np.arange(len(frame)) % 5
    frame["smoker"] = frame["visits"] > 2
    return frame, y


def _columns(encoder: Any) -> ColumnTransformer:
    numbers = ["mean radius", "mean texture", "mean perimeter"]
    return ColumnTransformer(
        [("n", StandardScaler(), numbers), ("s", encoder, ["size"])], remainder="passthrough"
    )


def _one_hot() -> Fitted:
    table, y = mixed()
    encoder = OneHotEncoder(handle_unknown="ignore")
    return Fitted(
        make_pipeline(_columns(encoder), LogisticRegression(max_iter=1000)).fit(table, y), table, _skops
    )


def _ordinal() -> Fitted:
    table, y = mixed()
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    model = make_pipeline(_columns(encoder), HistGradientBoostingClassifier(max_iter=10))
    return Fitted(model.fit(table, y), table, _skops)


def _native_categories() -> Fitted:
    table, y = mixed()
    table = table.assign(size=table["size"].astype("category"))
    model = HistGradientBoostingClassifier(max_iter=10, categorical_features="from_dtype")
    return Fitted(model.fit(table, y), table, _skops)


def _text() -> Fitted:
    words = ["the cat sat", "dogs bark loudly", "cats purr softly", "a dog ran off"] * 5
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(words, ["cat", "dog"] * 10)
    return Fitted(model, pd.DataFrame({"text": words}), _skops)


def _nameless() -> Fitted:
    table, y = wine()
    return Fitted(LogisticRegression(max_iter=10_000).fit(table.to_numpy(), y.to_numpy()), table, _skops)


def _xgboost() -> Fitted:
    import xgboost

    table, y = breast_cancer()
    model = xgboost.XGBClassifier(n_estimators=10, max_depth=3, n_jobs=1).fit(table, y == "benign")
    return Fitted(model, table, lambda model, path: model.save_model(path), "model.ubj")


def _lightgbm() -> Fitted:
    import lightgbm

    table, y = wine()
    table = table.rename(columns=lambda name: name.replace("/", "_"))
    model = lightgbm.LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1).fit(table, y)
    return Fitted(model, table, lambda model, path: model.booster_.save_model(path), "model.txt")


def _onnx() -> Fitted:
    from skl2onnx import to_onnx

    table, y = wine()
    model = RandomForestClassifier(10, random_state=0).fit(table.to_numpy(np.float32), y)

    def save(model: Any, path: Path) -> None:
        path.write_bytes(to_onnx(model, table.to_numpy(np.float32)[:1], target_opset=17).SerializeToString())

    return Fitted(model, table.astype(np.float32), save, "model.onnx")


def _of(data: Callable[[], tuple[pd.DataFrame, pd.Series]], estimator: Any) -> Callable[[], Fitted]:
    def make() -> Fitted:
        table, y = data()
        return Fitted(estimator.fit(table, y), table, _skops)

    return make


MAKERS: dict[str, Callable[[], Fitted]] = {
    "logistic regression": _of(breast_cancer, LogisticRegression(max_iter=10_000)),
    "random forest": _of(wine, RandomForestClassifier(20, n_jobs=2, random_state=0)),
    "forest of many outputs": _of(diabetes, RandomForestRegressor(10, random_state=0)),
    "gradient boosting": _of(wine, GradientBoostingClassifier(n_estimators=10, random_state=0)),
    "histogram boosting": _of(breast_cancer, HistGradientBoostingClassifier(max_iter=20)),
    "histogram regressor": _of(diabetes, HistGradientBoostingRegressor(max_iter=20)),
    "ridge": _of(diabetes, Ridge()),
    "isolation forest": _of(breast_cancer, IsolationForest(n_estimators=10, random_state=0)),
    "support vectors": _of(wine, SVC()),
    "bagged subsets": _of(wine, BaggingClassifier(n_estimators=5, max_features=0.5, random_state=0)),
    "one-hot pipeline": _one_hot,
    "ordinal pipeline": _ordinal,
    "native categories": _native_categories,
    "text pipeline": _text,
    "nameless": _nameless,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
}


@cache
def fitted(name: str) -> Fitted:
    return MAKERS[name]()
