"""From a model file to a model that scores rows, in the process that asks.

Only files that passed a probe in a child process may be loaded here: some formats crash the process that reads them
when they are crafted to.
"""

from collections.abc import Callable
from pathlib import Path

from app.core.errors import Refusal
from app.runtimes.booster_models import load_lightgbm, load_xgboost
from app.runtimes.errors import BrokenArtifact
from app.runtimes.formats import Format, ModelFile
from app.runtimes.onnx_models import load_onnx
from app.runtimes.schema import Signature
from app.runtimes.scores import Model
from app.runtimes.sklearn_models import load_pickle, load_skops
from app.runtimes.traits import Loaded


def load_model(file: ModelFile, signature: Signature, *, labels_from_probabilities: bool = False) -> Model:
    """The model in a file, ready to score rows of this signature.

    Args:
        file: what `detect_format` found; a pickle among them was allowed by the operator there.
        signature: of the rows that it will score.
        labels_from_probabilities: what the probe's report says.

    Raises:
        UnsafeArtifact: it holds something that is not allowed.
        BrokenArtifact: it can't be read.
    """
    return open_model(file).serve(signature, labels_from_probabilities=labels_from_probabilities)


def open_model(file: ModelFile) -> Loaded:
    """The model in a file, before it is known which rows it will get.

    Raises:
        UnsafeArtifact: it holds something that is not allowed.
        BrokenArtifact: it can't be read.
    """
    try:
        return _LOADERS[file.format](file.path)
    except (Refusal, MemoryError):
        raise
    except Exception as error:
        raise BrokenArtifact(
            f"{file.path.name} can't be read as {file.format}: {type(error).__name__}"
        ) from error


_LOADERS: dict[Format, Callable[[Path], Loaded]] = {
    Format.SKOPS: load_skops,
    Format.JOBLIB: load_pickle,
    Format.ONNX: load_onnx,
    Format.XGBOOST: load_xgboost,
    Format.LIGHTGBM: load_lightgbm,
}
