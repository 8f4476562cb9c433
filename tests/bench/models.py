"""The models of the benchmarks: a linear and a boosted classifier of 30 features, as skops and as ONNX files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEATURES = 30
COLUMNS = [f"feature_{i}" for i in range(FEATURES)]


def sample(rows: int, seed: int = 1) -> NDArray[np.float64]:
    """Rows whose values are exactly float32, so that ONNX sees what scikit-learn sees."""
    values = np.random.default_rng(seed).normal(size=(rows, FEATURES))
    return values.astype(np.float32).round(3).astype(np.float32).astype(np.float64)


def train(name: str) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    rows = sample(4000)
    target = (rows[:, 0] + rows[:, 1] * rows[:, 2] + np.random.default_rng(2).normal(size=4000) > 0).astype(int)
    estimators = {
        "logistic": LogisticRegression(max_iter=1000),
        "boosting": HistGradientBoostingClassifier(max_iter=100),
        "forest": RandomForestClassifier(n_estimators=100, max_depth=12),
    }
    return estimators[name].fit(rows, target)


def write_skops(estimator: Any, directory: Path) -> Path:
    import skops.io

    directory.mkdir(parents=True, exist_ok=True)
    skops.io.dump(estimator, directory / "model.skops")
    return directory


def write_onnx(estimator: Any, directory: Path) -> Path:
    from skl2onnx import to_onnx

    directory.mkdir(parents=True, exist_ok=True)
    graph = to_onnx(estimator, sample(1).astype(np.float32), options={id(estimator): {"zipmap": False}})
    (directory / "model.onnx").write_bytes(graph.SerializeToString())
    return directory
