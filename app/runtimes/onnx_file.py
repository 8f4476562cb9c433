"""ONNX files read as protobuf wire format: enough to know one, and to see what onnxruntime does not tell.

The field numbers are those of onnx.proto (IR version 13); the wire format is that of
protobuf.dev/programming-guides/encoding.
"""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

MAX_DEPTH = 64  # graphs inside If, Loop and Scan nodes


class _Kind(Enum):
    MODEL = "model"
    GRAPH = "graph"
    FUNCTION = "function"
    TRAINING = "training"
    NODE = "node"
    ATTRIBUTE = "attribute"
    TENSOR = "tensor"
    SPARSE = "sparse"


_CHILDREN = {
    _Kind.MODEL: {7: _Kind.GRAPH, 20: _Kind.TRAINING, 25: _Kind.FUNCTION},
    _Kind.GRAPH: {1: _Kind.NODE, 5: _Kind.TENSOR, 15: _Kind.SPARSE},
    _Kind.FUNCTION: {7: _Kind.NODE, 11: _Kind.ATTRIBUTE},
    _Kind.TRAINING: {1: _Kind.GRAPH, 2: _Kind.GRAPH},
    _Kind.NODE: {5: _Kind.ATTRIBUTE},
    _Kind.ATTRIBUTE: {
        5: _Kind.TENSOR,
        6: _Kind.GRAPH,
        10: _Kind.TENSOR,
        11: _Kind.GRAPH,
        22: _Kind.SPARSE,
        23: _Kind.SPARSE,
    },
    _Kind.TENSOR: {},
    _Kind.SPARSE: {1: _Kind.TENSOR, 2: _Kind.TENSOR},
}
_IR_VERSION, _GRAPH = 1, 7  # of ModelProto
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of TensorProto
_OP_TYPE = 4  # of NodeProto
_NAME, _INTEGERS, _STRINGS = 1, 8, 9  # of AttributeProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_CLASS_LABELS = (b"classlabels_int64s", b"classlabels_ints", b"classlabels_strings")
# Long runs of unpacked `ints` and `floats` of an attribute, which tree ensembles consist of: skipped at C speed.
_RUN = re.compile(rb"(?:(?:\x40[\x80-\xff]{0,9}[\x00-\x7f])+|(?:\x3d.{4})+)", re.DOTALL)

Value = int | tuple[int, int]  # a number, or where bytes begin and end


class NotOnnxError(ValueError):
    """The bytes are no ONNX model."""


@dataclass
class OnnxContent:
    """What a walk over the file found."""

    operators: set[str] = field(default_factory=set)
    has_external_data: bool = False
    class_labels: list[int | str] = field(default_factory=list)


def read_onnx(path: Path) -> OnnxContent:
    """Walk over all messages of an ONNX file.

    Raises:
        NotOnnxError: the bytes are no ModelProto.
    """
    if path.stat().st_size == 0:
        raise NotOnnxError("empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        numbers = [number for number, _ in _fields(data, 0, len(data))]
        if not {_IR_VERSION, _GRAPH} <= set(numbers):
            raise NotOnnxError("no graph")
        content = OnnxContent()
        _walk(data, (0, len(data)), _Kind.MODEL, content, 0)
        return content


def _walk(data: mmap.mmap, span: tuple[int, int], kind: _Kind, content: OnnxContent, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise NotOnnxError("nested too deeply")
    if kind == _Kind.ATTRIBUTE and data[span[0] : span[1]][2:].startswith(_CLASS_LABELS):
        content.class_labels = _labels(data, span)
    for number, value in _fields(data, *span):
        if kind == _Kind.TENSOR and (number == _EXTERNAL_DATA or (number, value) == (_DATA_LOCATION, 1)):
            content.has_external_data = True
        if isinstance(value, int):
            continue
        if kind == _Kind.NODE and number == _OP_TYPE:
            content.operators.add(data[value[0] : value[1]].decode(errors="replace"))
        if child := _CHILDREN[kind].get(number):
            _walk(data, value, child, content, depth + 1)


def _labels(data: mmap.mmap, span: tuple[int, int]) -> list[int | str]:
    labels: list[int | str] = []
    for number, value in _fields(data, *span, skip_runs=False):
        if number == _INTEGERS and isinstance(value, int):
            labels.append(value - (1 << 64) if value >> 63 else value)
        elif number == _STRINGS and not isinstance(value, int):
            labels.append(data[value[0] : value[1]].decode(errors="replace"))
    return labels


def _fields(data: mmap.mmap, start: int, stop: int, *, skip_runs: bool = True) -> Iterator[tuple[int, Value]]:
    position = start
    while position < stop:
        if skip_runs and (run := _RUN.match(data, position, stop)):
            position = run.end()
            continue
        tag, position = _varint(data, position, stop)
        value, position = _value(data, tag & 7, position, stop)
        if position > stop or tag < 8:
            raise NotOnnxError("a field leads past the end")
        yield tag >> 3, value


def _value(data: mmap.mmap, wire_type: int, position: int, stop: int) -> tuple[Value, int]:
    if wire_type == _VARINT:
        return _varint(data, position, stop)
    if wire_type == _BYTES:
        length, position = _varint(data, position, stop)
        return (position, position + length), position + length
    if wire_type in (_FIXED32, _FIXED64):
        end = position + (4 if wire_type == _FIXED32 else 8)
        return (position, end), end
    raise NotOnnxError("an unknown wire type")


def _varint(data: mmap.mmap, position: int, stop: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if position >= stop:
            break
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise NotOnnxError("an endless number")
