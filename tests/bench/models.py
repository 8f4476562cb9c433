"""The models of the benchmarks: a linear and a boosted classifier of 30 features, as skops and as ONNX files."""

from collections.abc import Iterable
from functools import cache
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


def sample_csv() -> bytes:
    lines = [",".join(COLUMNS), *(",".join(map(repr, row)) for row in sample(100).tolist())]
    return "\n".join(lines).encode()


def write_models(directory: Path, names: Iterable[str]) -> dict[str, Path]:
    """A directory with one artifact for each name, such as `boosting-onnx`."""
    writers = {"onnx": write_onnx, "sklearn": write_skops}
    written = {}
    for name in sorted(names):
        kind, _, runtime = name.partition("-")
        written[name] = directory / name
        written[name].mkdir(parents=True)
        writers[runtime](train(kind), written[name])
    return written


@cache
def train(kind: str) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    rows = sample(4000)
    noise = np.random.default_rng(2).normal(size=4000)
    estimators = {
        "logistic": LogisticRegression(max_iter=1000),
        "boosting": HistGradientBoostingClassifier(max_iter=100),
        "forest": RandomForestClassifier(n_estimators=100, max_depth=12),
    }
    return estimators[kind].fit(rows, (rows[:, 0] + rows[:, 1] * rows[:, 2] + noise > 0).astype(int))


def write_skops(estimator: Any, directory: Path) -> None:
    import skops.io

    skops.io.dump(estimator, directory / "model.skops")


def write_onnx(estimator: Any, directory: Path) -> None:
    from skl2onnx import to_onnx

    graph = to_onnx(estimator, sample(1).astype(np.float32), options={id(estimator): {"zipmap": False}})
    (directory / "model.onnx").write_bytes(graph.SerializeToString())
