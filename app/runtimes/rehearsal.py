"""One probe of a tiny model in the forking process: the libraries import half of themselves on first use."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from app.runtimes.examine import examine


def rehearse() -> None:
    """Import and initialise what a probe needs, once, so that children find it done."""
    frame = pd.DataFrame({"number": [0.0, 1.0], "text": ["a", "b"]})
    columns = ColumnTransformer([("n", StandardScaler(), ["number"]), ("t", OneHotEncoder(), ["text"])])
    model = make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1])
    parquet = io.BytesIO()
    frame.to_parquet(parquet)
    with TemporaryDirectory() as directory:
        skops.io.dump(model, Path(directory) / "model.skops")
        for sample in (parquet.getvalue(), frame.to_csv(index=False).encode()):
            examine(Path(directory), sample, {})
