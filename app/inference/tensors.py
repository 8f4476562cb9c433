"""The tensors of an Open Inference request, checked and brought to rows.

A request either has a tensor of shape [rows] or [rows, 1] for each column, under the column's name, or one tensor
of shape [rows, columns] under any other name, whose datatype every column takes. One bad element refuses the whole
request: an output tensor has no place for a row without an answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

from app.core.errors import FieldProblem
from app.inference.datatypes import DATATYPES, TAKEN, Datatype
from app.inference.errors import BadElement, BadTensor, UnknownOutput, name_some, show
from app.runtimes.cells import shorten
from app.runtimes.errors import MisshapenPayload
from app.runtimes.rows import Rows, parse_rows
from app.runtimes.schema import Column, Signature, Task
from app.serving.dialects import Dialect, Envelope, decode_json, read_option

PREDICTIONS = "predict"
PROBABILITIES = "predict_proba"
MOST_ELEMENTS = 2**31  # of a shape: no body holds more, and a longer number would not even print
_OPTIONS = frozenset({"entity_id", "environment", "arm"})


@dataclass(frozen=True, slots=True)
class TensorEnvelope(Envelope):
    """What a request says beside its tensors: the id that comes back, and the outputs that are wanted (none: all)."""

    id: str | None = None
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input with its elements in row-major order, as many as its shape asks for."""

    name: str
    shape: tuple[int, ...]
    datatype: Datatype
    elements: Sequence[Any]

    def index_of(self, row: int, column: int) -> list[int]:
        """Where an element stands, in as many numbers as the shape has."""
        return [row, column][: len(self.shape)]


def output_names(signature: Signature) -> tuple[str, ...]:
    """The outputs that a caller may ask a model of this signature for."""
    return (PREDICTIONS, PROBABILITIES) if signature.task == Task.CLASSIFICATION else (PREDICTIONS,)


def read_tensor_envelope(payload: Any) -> TensorEnvelope:
    """The id, the wanted outputs, and the options among the parameters.

    Raises:
        MisshapenPayload, FieldProblem: some of it can't be read.
    """
    if not isinstance(payload, dict):
        raise MisshapenPayload("body", "must be an object")
    parameters = payload.get("parameters", {})
    if not isinstance(parameters, dict):
        raise MisshapenPayload("parameters", "must be an object")
    options = {name: read_option(name, parameters[name]) for name in _OPTIONS & parameters.keys()}
    given = payload.get("id")
    if given is not None and not isinstance(given, str):
        raise FieldProblem("id", "must be text")
    request_id = read_option("id", given) if given else None
    return TensorEnvelope(**options, request_id=request_id, id=given, outputs=_read_outputs(payload))


def _read_outputs(payload: dict[str, Any]) -> tuple[str, ...]:
    outputs = payload.get("outputs", [])
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise MisshapenPayload("outputs", "must be a list of objects")
    names = tuple(output.get("name") for output in outputs)
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise MisshapenPayload("outputs", "each must have a name of its own")
    return names


def read_tensor_rows(payload: Any, signature: Signature, *, max_rows: int) -> Rows:
    """The rows that the tensors hold: all good, or none.

    Raises:
        BadTensor, BadElement, UnknownOutput: something doesn't fit the signature.
        MisshapenPayload, EmptyBatch, TooManyRows: there are no rows to read, or too many.
    """
    known = output_names(signature)
    for name in _read_outputs(payload):
        if name not in known:
            raise UnknownOutput(name, list(known))
    tensors = _read_tensors(payload.get("inputs"))
    if len(tensors) == 1 and tensors[0].name not in signature.names:
        return _read_matrix(tensors[0], signature, max_rows)
    return _read_columns(tensors, signature, max_rows)


TENSORS = Dialect(decode_json, read_tensor_envelope, read_tensor_rows)


def _read_tensors(inputs: Any) -> list[Tensor]:
    if not isinstance(inputs, list) or not inputs:
        raise MisshapenPayload("inputs", "must be a list of at least one tensor")
    return [_read_tensor(item, f"inputs[{i}]") for i, item in enumerate(inputs)]


def _read_tensor(item: Any, where: str) -> Tensor:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise MisshapenPayload(where, "must be an object with a name")
    name: str = item["name"]
    shape, datatype = _read_shape(name, item.get("shape")), _read_datatype(name, item.get("datatype"))
    if not isinstance(item.get("data"), list):
        raise BadTensor(name, "has no data; it must be a list, flat or nested")
    tensor = Tensor(name, shape, datatype, _flatten(name, item["data"], shape))
    _check_elements(tensor)
    return tensor


def _read_shape(name: str, shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(s) is int and 0 <= s < MOST_ELEMENTS for s in shape):
        raise BadTensor(name, "has no shape; it must be a list of whole numbers")
    if len(shape) not in {1, 2}:
        raise BadTensor(name, f"has a shape of {len(shape)} sizes; [rows] and [rows, columns] are taken")
    return tuple(shape)


def _read_datatype(name: str, datatype: Any) -> Datatype:
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise BadTensor(name, f"has no known datatype; known are {', '.join(DATATYPES)}")
    return DATATYPES[datatype]


def _flatten(name: str, data: list[Any], shape: tuple[int, ...]) -> Sequence[Any]:
    if len(shape) > 1 and data and type(data[0]) is list:
        if set(map(type, data)) != {list} or len(data) != shape[0] or set(map(len, data)) != {shape[1]}:
            raise BadTensor(name, f"has nested data that is not of the shape {list(shape)}")
        return list(chain.from_iterable(data))
    if len(data) != prod(shape):
        raise BadTensor(name, f"has {len(data)} elements; the shape {list(shape)} asks for {prod(shape)}")
    return data


def _check_elements(tensor: Tensor) -> None:
    place = tensor.datatype.find_misfit(tensor.elements)
    if place is None:
        return
    element = tensor.elements[place]
    fits_in_kind = type(element) in tensor.datatype.kinds
    raise BadElement(
        tensor.name,
        tensor.index_of(*divmod(place, prod(tensor.shape[1:]))),
        "is out of range" if fits_in_kind else "has the wrong type",
        tensor.datatype.name,
        shorten(element),
    )


def _read_matrix(tensor: Tensor, signature: Signature, max_rows: int) -> Rows:
    width = len(signature.inputs)
    if tensor.shape[1:] != (width,):
        raise BadTensor(
            tensor.name,
            f"has the shape {list(tensor.shape)}; one tensor for all columns has [rows, {width}], "
            f"else each column is an input of its own: {name_some(signature.names)}",
        )
    for column in signature.inputs:
        _check_datatype(tensor, column)
    elements = tensor.elements
    table = [elements[start : start + width] for start in range(0, len(elements), width)]
    rows = parse_rows({"inputs": table}, signature, max_rows=max_rows)
    return _require_all_good(rows, lambda name: (tensor, signature.names.index(name)))


def _read_columns(tensors: list[Tensor], signature: Signature, max_rows: int) -> Rows:
    by_name = _by_name(tensors, signature)
    batch = tensors[0].shape[0]
    shapes = {(batch,), (batch, 1)}
    for column in signature.inputs:
        tensor = by_name[column.name]
        _check_datatype(tensor, column)
        if tensor.shape not in shapes:
            raise BadTensor(tensor.name, f"has the shape {list(tensor.shape)}; here a column has [{batch}]")
    columns = {name: by_name[name].elements for name in signature.names}
    rows = parse_rows({"inputs": columns}, signature, max_rows=max_rows)
    return _require_all_good(rows, lambda name: (by_name[name], 0))


def _by_name(tensors: list[Tensor], signature: Signature) -> dict[str, Tensor]:
    by_name: dict[str, Tensor] = {}
    known = frozenset(signature.names)
    for tensor in tensors:
        if tensor.name not in known:
            raise BadTensor(tensor.name, f"is no input of this model; it takes {name_some(signature.names)}")
        if tensor.name in by_name:
            raise BadTensor(tensor.name, "is there twice")
        by_name[tensor.name] = tensor
    missing = [name for name in signature.names if name not in by_name]
    if missing:
        raise BadTensor(missing[0], f"is missing; the request lacks {name_some(missing)}")
    return by_name


def _check_datatype(tensor: Tensor, column: Column) -> None:
    taken = TAKEN[column.type]
    if tensor.datatype.name not in taken:
        raise BadTensor(
            tensor.name,
            f"has the datatype {tensor.datatype.name}; column {show(column.name)} takes {', '.join(sorted(taken))}",
        )


def _require_all_good(rows: Rows, locate: Callable[[str], tuple[Tensor, int]]) -> Rows:
    """The rows, if none is bad; `locate` says in which tensor, and where in its rows, a column stands."""
    if not rows.errors:
        return rows
    row = min(rows.errors)
    error = rows.errors[row][0]
    assert error.column is not None, "every row has as many cells as the signature"
    tensor, place = locate(error.column)
    raise BadElement(tensor.name, tensor.index_of(row, place), error.problem, error.expected, error.got)
