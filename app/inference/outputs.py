"""The answers of a model as the output tensors `predict` and `predict_proba`."""

from typing import Any

from pydantic_core import to_json

from app.inference.datatypes import DECLARED
from app.inference.errors import UnknownOutput
from app.inference.scoring import encode_in_turns
from app.inference.tensors import PREDICTIONS, PROBABILITIES, TensorEnvelope
from app.runtimes.schema import ColumnType
from app.serving.answers import Part, PredictAnswer


async def encode_tensors(answer: PredictAnswer) -> bytes:
    """The JSON of an answer: the outputs that were asked for, and the prediction ids among its parameters.

    The ids are one text with commas between, because a parameter is text, a number or a boolean.

    Raises:
        UnknownOutput: probabilities were asked for, and this model gives none.
    """
    envelope, given = answer.envelope, _outputs_given(answer)
    assert isinstance(envelope, TensorEnvelope)
    for name in envelope.outputs:
        if name not in given:
            raise UnknownOutput(name, list(given))
    outputs = [await _encode_output(name, answer) for name in envelope.outputs or given]
    return b'%b,"parameters":{%b"prediction_ids":"%b"},"outputs":[%b]}' % (
        to_json(_head(answer, envelope))[:-1],
        b"" if answer.revision is None else b'"revision":%d,' % answer.revision,
        await encode_in_turns(answer.parts, _encode_ids),
        b",".join(outputs),
    )


def _outputs_given(answer: PredictAnswer) -> tuple[str, ...]:
    has_probabilities = answer.parts[0].scored.scores.probabilities is not None
    return (PREDICTIONS, PROBABILITIES) if has_probabilities else (PREDICTIONS,)


def _head(answer: PredictAnswer, envelope: TensorEnvelope) -> dict[str, str]:
    version = answer.version
    head = {"model_name": version.model_name, "model_version": str(version.number)}
    return head if envelope.id is None else head | {"id": envelope.id}


def _encode_ids(part: Part) -> bytes:
    return ",".join(map(str, part.ids)).encode()


async def _encode_output(name: str, answer: PredictAnswer) -> bytes:
    first = _rows_of(answer.parts[0], name)[0]
    width = [len(first)] if isinstance(first, list) else []
    output = ColumnType.FLOAT if name == PROBABILITIES else answer.version.signature.output
    head = {"name": name, "datatype": DECLARED[output], "shape": [answer.rows, *width]}
    data = await encode_in_turns(answer.parts, lambda part: _encode_elements(_rows_of(part, name)))
    return b'%b,"data":[%b]}' % (to_json(head)[:-1], data)


def _rows_of(part: Part, name: str) -> list[Any]:
    scores = part.scored.scores
    if name == PREDICTIONS:
        return scores.prediction
    assert scores.probabilities is not None
    probabilities: list[Any] = scores.probabilities.tolist()
    return probabilities


def _encode_elements(rows: list[Any]) -> bytes:
    """Elements in row-major order, as they stand between the brackets of a JSON list."""
    elements = [element for row in rows for element in row] if isinstance(rows[0], list) else rows
    return to_json(elements, inf_nan_mode="null")[1:-1]
