"""ONNX models, run by onnxruntime in the calling thread."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.runtimes.errors import BrokenArtifact
from app.runtimes.onnx_file import read_onnx
from app.runtimes.rows import Rows
from app.runtimes.schema import Column, ColumnType, Label, Signature, Task, tensor_columns
from app.runtimes.scores import Model, Scores
from app.runtimes.traits import Traits, first_line, plain, single_column

_ELEMENTS: dict[str, tuple[Any, ColumnType]] = {
    "tensor(float)": (np.float32, ColumnType.FLOAT),
    "tensor(double)": (np.float64, ColumnType.FLOAT),
    "tensor(float16)": (np.float16, ColumnType.FLOAT),
    "tensor(int64)": (np.int64, ColumnType.INTEGER),
    "tensor(int32)": (np.int32, ColumnType.INTEGER),
    "tensor(bool)": (np.bool_, ColumnType.BOOLEAN),
    "tensor(string)": (object, ColumnType.STRING),
}
_QUIET = 4  # fatal only: what fails is raised, and standard error is the service's log


def open_session(model: Path | bytes) -> Any:
    """An onnxruntime session that starts no threads.

    Raises:
        BrokenArtifact: onnxruntime can't read the model.
    """
    import onnxruntime as ort  # noqa: PLC0415 - 65 MB that a service without ONNX models need not map

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    try:
        source = model if isinstance(model, bytes) else str(model)
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:
        raise BrokenArtifact(
            f"onnxruntime can't read the model: {first_line(error).replace('[ONNXRuntimeError] : ', '')}"
        ) from error


def load_onnx(path: Path) -> "OnnxModel":
    """The model in an ONNX file.

    Raises:
        BrokenArtifact: onnxruntime can't read it, or it wants inputs that no table has.
    """
    content = read_onnx(path)
    return OnnxModel(open_session(path), tuple(content.class_labels), content.operators)


class OnnxModel:
    """A session, and what its outputs mean."""

    def __init__(self, session: Any, class_labels: tuple[Label, ...], operators: set[str]) -> None:
        self.session = session
        self.class_labels = class_labels
        self.operators = operators
        self.inputs = session.get_inputs()
        self.outputs = session.get_outputs()
        for node in self.inputs:
            if node.type not in _ELEMENTS or len(node.shape) != 2:
                raise BrokenArtifact(
                    f"the input {node.name[:80]!r} is {node.type}{node.shape}, not a column or a table"
                )

    def traits(self) -> Traits:
        """What the graph tells: inputs with types, and the task as its outputs show it."""
        columns, has_names = self._columns()
        meta = self.session.get_modelmeta()
        return Traits(
            framework="onnx",
            algorithm=self._algorithm(),
            columns=columns,
            has_names=has_names,
            task=self._task(),
            classes=self._classes(),
            versions={meta.producer_name: "unknown"} if meta.producer_name else {},
            tells_types=columns is not None,
        )

    def _columns(self) -> tuple[tuple[Column, ...] | None, bool]:
        if len(self.inputs) > 1:
            return tuple(Column(node.name, _ELEMENTS[node.type][1]) for node in self.inputs), True
        (node,) = self.inputs
        width = node.shape[1]
        if not isinstance(width, int):
            return None, False
        if _ELEMENTS[node.type][1] == ColumnType.FLOAT:
            return tensor_columns(width), False
        return tuple(Column(column.name, _ELEMENTS[node.type][1]) for column in tensor_columns(width)), False

    def _algorithm(self) -> str:
        known = sorted(name for name in self.operators if name.endswith(("Classifier", "Regressor")))
        return known[0] if known else "Graph"

    def _task(self) -> Task:
        first, second = self.outputs[0], self.outputs[1] if len(self.outputs) > 1 else None
        if second is not None and first.type in ("tensor(int64)", "tensor(string)"):
            is_score = second.type.startswith("tensor") and second.shape[-1] == 1
            return Task.ANOMALY if is_score and not self.class_labels else Task.CLASSIFICATION
        if "Softmax" in self.operators:
            return Task.CLASSIFICATION
        return Task.REGRESSION if first.shape[1:] in ([], [1]) else Task.TRANSFORM

    def _classes(self) -> tuple[Label, ...] | None:
        if self._task() != Task.CLASSIFICATION or self.class_labels:
            return self.class_labels or None
        width = self.outputs[-1].shape[-1] if self.outputs[-1].shape else None
        return tuple(range(width)) if isinstance(width, int) and width > 1 else None

    def check_structure(self) -> None:
        """Nothing is left to check: onnxruntime checks children, features and classes of tree ensembles itself."""

    def serve(self, signature: Signature, *, labels_from_probabilities: bool = False) -> Model:
        """The session behind a feed of this signature; an ONNX graph gives labels and probabilities in one pass."""
        del labels_from_probabilities
        feed = _table_feed(self.inputs[0]) if len(self.inputs) == 1 else _column_feed(self.inputs, signature)
        return _Served(self.session, feed, signature)


Feed = Callable[[Rows], dict[str, Any]]


def as_input_name(column: str) -> str:
    """A column's name as converters write it into a graph: nothing but letters, digits and underscores."""
    return re.sub(r"\W", "_", column)


def _table_feed(node: Any) -> Feed:
    name, (dtype, kind) = node.name, _ELEMENTS[node.type]
    if kind == ColumnType.STRING:
        return lambda rows: {name: np.array(rows.values, dtype=object)}
    return lambda rows: {name: _matrix(rows).astype(dtype, copy=False)}


def _matrix(rows: Rows) -> NDArray[np.float64]:
    assert rows.matrix is not None
    return rows.matrix


def _column_feed(nodes: Sequence[Any], signature: Signature) -> Feed:
    positions = {as_input_name(name): i for i, name in enumerate(signature.names)}
    missing = [node.name for node in nodes if as_input_name(node.name) not in positions]
    if missing:
        raise BrokenArtifact(f"the model wants columns that its signature lacks: {', '.join(missing[:5])}")
    wanted = [(node.name, positions[as_input_name(node.name)], _ELEMENTS[node.type][0]) for node in nodes]

    def feed(rows: Rows) -> dict[str, Any]:
        columns = list(zip(*rows.values, strict=True))
        return {name: _column(columns[i], dtype) for name, i, dtype in wanted}

    return feed


def _column(cells: Sequence[Any], dtype: Any) -> NDArray[Any]:
    if dtype is object:
        cells = ["nan" if cell is None else cell for cell in cells]  # how skl2onnx spells a missing category
    return np.array(cells, dtype=dtype).reshape(-1, 1)


class _Served:
    def __init__(self, session: Any, feed: Feed, signature: Signature) -> None:
        self._run = session.run
        self._feed = feed
        self._names = [node.name for node in session.get_outputs()]
        self._classes = signature.classes if signature.task == Task.CLASSIFICATION else None

    def score(self, rows: Rows) -> Scores:
        outputs = self._run(self._names, self._feed(rows))
        if self._classes is None:
            return Scores(plain(single_column(outputs[0])))
        probabilities = _probabilities(outputs[-1], self._classes)
        if len(outputs) > 1:
            return Scores(plain(single_column(outputs[0])), probabilities, self._classes)
        return Scores(
            [self._classes[i] for i in probabilities.argmax(axis=1).tolist()], probabilities, self._classes
        )


def _probabilities(output: Any, classes: tuple[Label, ...]) -> NDArray[np.float64]:
    if isinstance(output, list):  # ZipMap: a mapping from label to probability for each row
        return np.array([[row[label] for label in classes] for row in output], dtype=np.float64)
    table = np.asarray(output, dtype=np.float64)
    return table if table.shape[1] == len(classes) else np.column_stack([1 - table[:, 0], table[:, 0]])
