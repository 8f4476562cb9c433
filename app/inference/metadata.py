"""What a model is, in the terms of the Open Inference Protocol."""

from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from app.inference.datatypes import DECLARED, matrix_datatype
from app.inference.tensors import PREDICTIONS, PROBABILITIES
from app.runtimes.schema import ColumnType, Signature

if TYPE_CHECKING:
    from app.registry.tables import Version

_ANY = -1  # how the protocol writes a size that varies


def describe_version(version: "Version", numbers: list[int]) -> dict[str, Any]:
    """A version's metadata: one input for each column, and what its stored answers show of its outputs.

    Properties are text, as in the protocol's gRPC form. `matrix` is there where one tensor may stand for all columns.
    """
    signature = Signature.from_json(version.signature)
    return {
        "name": version.model_name,
        "versions": [str(number) for number in numbers],
        "platform": f"{version.framework}_{version.format}",
        "inputs": [_tensor(column.name, column.type) for column in signature.inputs],
        "outputs": _outputs(version, signature),
        "properties": _properties(version, signature),
    }


def _tensor(name: str, kind: ColumnType, *widths: int) -> dict[str, Any]:
    return {"name": name, "datatype": DECLARED[kind], "shape": [_ANY, *widths]}


def _outputs(version: "Version", signature: Signature) -> list[dict[str, Any]]:
    stored = version.probe["sample_output"]
    outputs = [_tensor(PREDICTIONS, signature.output, *_widths(stored["predictions"]))]
    if stored["probabilities"] is not None:
        outputs.append(_tensor(PROBABILITIES, ColumnType.FLOAT, *_widths(stored["probabilities"])))
    return outputs


def _widths(rows: list[Any]) -> list[int]:
    return [len(rows[0])] if rows and isinstance(rows[0], list) else []


def _properties(version: "Version", signature: Signature) -> dict[str, str]:
    properties = {
        "model_id": version.model_reference,
        "stage": version.stage.value,
        "task": signature.task.value,
    }
    if signature.classes is not None:
        properties["classes"] = to_json(signature.classes).decode()
    if (datatype := matrix_datatype(signature)) is not None:
        properties["matrix"] = f"{datatype} [{_ANY}, {len(signature.inputs)}]"
    return properties
