"""scikit-learn models as ONNX, taken only when they are proved equal on the stored sample.

A conversion can be wrong without any sign. Native categorical splits come out wrong. ONNX computes in float32, which
moves a sum by a rounding error (seen in the difference, held below a tolerance) but can put a value on the other side
of a threshold (seen only on rows that come near one, so a sample proves little). Therefore a model that compares with
thresholds must compare the very numbers that float32 carries.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from app.runtimes.errors import BrokenArtifact, NotConvertible
from app.runtimes.examine import lone_row_ms, score_or_refuse, stored_rows
from app.runtimes.formats import Format, detect_format
from app.runtimes.loading import open_model
from app.runtimes.onnx_models import OnnxModel, open_session
from app.runtimes.parts import needs_names, parts_of
from app.runtimes.rows import Rows
from app.runtimes.schema import ColumnType, Signature
from app.runtimes.scores import Model, Scores
from app.runtimes.sklearn_models import SklearnModel
from app.runtimes.traits import first_line

TOLERANCE = 1e-6  # of a probability, or relative to the largest answer of a regression
MIN_ROWS = 10  # fewer prove nothing
_NO_ARITHMETIC = {"Pipeline", "ColumnTransformer", "OneHotEncoder", "OrdinalEncoder"}
_OFF_THE_PATH = {
    "LabelEncoder",
    "LabelBinarizer",
    "_BinMapper",
}  # these transform labels, or only training data
_OPSETS = {"": 17, "ai.onnx.ml": 3}  # the newest that every converter of skl2onnx 1.20 can write


@dataclass(frozen=True)
class Conversion:
    """An ONNX model that gave the same answers.

    Attributes:
        model: the file.
        rows: on how many rows it was compared.
        largest_difference: of any probability, or of any answer relative to the largest.
        speed_up: how many times quicker it scores a lone row.
    """

    model: bytes
    rows: int
    largest_difference: float
    speed_up: float

    def to_json(self) -> dict[str, Any]:
        """The form in which it leaves the child."""
        return vars(self) | {"model": base64.b64encode(self.model).decode()}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """What `to_json` wrote."""
        return cls(**body | {"model": base64.b64decode(body["model"])})


def convert(directory: Path, _: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """Convert the model in a directory and compare both on its stored sample.

    Raises:
        NotConvertible: it has no equal, or none that is proved on this sample.
    """
    file = detect_format(directory, allowed_unsafe=tuple(options["allowed_unsafe"]))
    if file.format not in (Format.SKOPS, Format.JOBLIB):
        raise NotConvertible(f"only scikit-learn models are converted, this is {file.format}")
    loaded = open_model(file)
    assert isinstance(loaded, SklearnModel)
    signature = Signature.from_json(options["signature"])
    rows = stored_rows(options["sample_input"], signature)
    _check_eligible(loaded, signature, rows)
    converted = _to_onnx(loaded, signature)
    return _compare(loaded.serve(signature), _open(converted, signature), rows, converted).to_json()


def _open(converted: bytes, signature: Signature) -> Model:
    try:
        return OnnxModel(open_session(converted), (), set()).serve(signature)
    except BrokenArtifact as error:
        raise NotConvertible(f"what skl2onnx made can't be served: {error.problem}") from error


def _check_eligible(loaded: SklearnModel, signature: Signature, rows: Rows) -> None:
    if len(rows.good) < MIN_ROWS:
        raise NotConvertible(
            f"the stored sample has {len(rows.good)} rows, a proof of equality needs {MIN_ROWS}"
        )
    parts = list(parts_of(loaded.estimator))
    histograms = [part for part in parts if hasattr(part, "_predictors")]
    if any(np.any(part.is_categorical_) for part in histograms if part.is_categorical_ is not None):
        raise NotConvertible("splits by category are known to come out wrong")
    has_thresholds = bool(histograms) or any(hasattr(part, "tree_") for part in parts)
    computing = sorted(type(part).__name__ for part in parts if part is not loaded.final and _computes(part))
    if has_thresholds and computing:
        raise NotConvertible(
            f"{computing[0]} computes in float32 what the trees behind it compare with thresholds"
        )
    if histograms and (column := _inexact_column(signature, rows)):
        raise NotConvertible(f"the column {column} holds numbers that float32 can't carry exactly")


def _computes(part: Any) -> bool:
    name = type(part).__name__
    passes_on = name == "FunctionTransformer" and part.func is None
    return hasattr(part, "transform") and name not in _NO_ARITHMETIC | _OFF_THE_PATH and not passes_on


def _inexact_column(signature: Signature, rows: Rows) -> str | None:
    columns = zip(signature.inputs, zip(*rows.values, strict=True), strict=True)
    for column, cells in columns:
        if column.type in (ColumnType.FLOAT, ColumnType.INTEGER):
            numbers = np.array(cells, dtype=np.float64)
            if not np.array_equal(numbers, numbers.astype(np.float32), equal_nan=True):
                return column.name
    return None


def _to_onnx(loaded: SklearnModel, signature: Signature) -> bytes:
    try:
        import skl2onnx  # noqa: PLC0415 - an extra
        from skl2onnx.common.data_types import FloatTensorType, StringTensorType  # noqa: PLC0415
    except ImportError as error:
        raise NotConvertible("skl2onnx is not installed here: install switchyard[onnx]") from error
    if signature.is_numeric and not needs_names(loaded.estimator):
        inputs = [("rows", FloatTensorType([None, len(signature.inputs)]))]
    else:
        kinds = {ColumnType.STRING: StringTensorType}
        inputs = [(c.name, kinds.get(c.type, FloatTensorType)([None, 1])) for c in signature.inputs]
    options = {id(loaded.final): {"zipmap": False}} if signature.classes else None
    try:
        model = skl2onnx.convert_sklearn(
            loaded.estimator, initial_types=inputs, options=options, target_opset=_OPSETS
        )
        converted: bytes = model.SerializeToString()
    except MemoryError:
        raise
    except Exception as error:
        raise NotConvertible(f"skl2onnx can't convert it: {first_line(error)}") from error
    return converted


def _compare(model: Model, quick: Model, rows: Rows, converted: bytes) -> Conversion:
    ours, theirs = score_or_refuse(model, rows), score_or_refuse(quick, rows)
    if ours.classes is not None and ours.prediction != theirs.prediction:
        raise NotConvertible("it labels rows of the sample otherwise")
    difference = _largest_difference(ours, theirs)
    if not difference <= TOLERANCE:
        raise NotConvertible(f"its answers differ by up to {difference:.2g}, allowed is {TOLERANCE:g}")
    return Conversion(
        converted, len(rows.good), difference, lone_row_ms(model, rows) / lone_row_ms(quick, rows)
    )


def _largest_difference(ours: Scores, theirs: Scores) -> float:
    if ours.probabilities is not None and theirs.probabilities is not None:
        return float(np.abs(ours.probabilities - theirs.probabilities).max())
    if ours.classes is not None:
        return 0.0
    before, after = np.array(ours.prediction, dtype=np.float64), np.array(theirs.prediction, dtype=np.float64)
    if before.shape != after.shape:
        return float("inf")
    return float(np.abs(before - after).max() / max(1.0, float(np.abs(before).max())))
