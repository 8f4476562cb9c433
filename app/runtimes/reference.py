"""What the probe's child does for monitoring: the plan and the profile of a version's reference sample."""

import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.runtimes.errors import BadSample
from app.runtimes.formats import detect_format
from app.runtimes.loading import load_model
from app.runtimes.profiles import Answered, Plan, columns_of, make_plan
from app.runtimes.rows import Rows, merge_rows, parse_rows
from app.runtimes.samples import cells_of, read_sample, spread_rows
from app.runtimes.schema import Signature
from app.runtimes.scores import Model

MOST_ROWS = 100_000
PART_ROWS = 1000
SCORING_SECONDS = 5.0
"""How long rows are scored for the profile of answers; a slow model has a smaller reference for them."""


def profile_reference(directory: Path, sample: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """The plan that a reference sample gives, and its profile along it.

    Raises:
        BadSample: it holds no row that the model takes.
    """
    signature = Signature.from_json(options["signature"])
    frame = spread_rows(_columns_of(read_sample(sample), signature), MOST_ROWS)
    parts = [
        _good(frame.iloc[start : start + PART_ROWS], signature) for start in range(0, len(frame), PART_ROWS)
    ]
    rows = merge_rows(parts)
    if not rows.values:
        raise BadSample("no row of it fits the model")
    file = detect_format(directory, allowed_unsafe=tuple(options.get("allowed_unsafe", ())))
    answers = _score(load_model(file, signature), parts)
    asked = Answered(columns_of(rows.matrix, rows.values, signature.types))
    plan = make_plan(signature, Answered(asked.inputs, answers.predictions, answers.confidences))
    profile = plan.profile(asked) + plan.profile(answers)
    stored = [b64encode(section).decode() for section in profile.to_bytes()]
    return {"plan": plan.to_json(), "profile": stored, "rows": len(rows.values)}


def profile_table(_directory: Path, table: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """The profile of a table along a plan that is there already, and how many of its rows don't fit the model.

    Raises:
        BadSample: it is no table, lacks columns, or holds no row that fits.
    """
    signature, plan = Signature.from_json(options["signature"]), Plan.from_json(options["plan"])
    frame = read_sample(table)
    missing = [name for name in signature.names if name not in frame.columns]
    if missing:
        raise BadSample(f"the table lacks columns that the model wants: {', '.join(missing[:10])}")
    frame = frame[list(signature.names)].iloc[:MOST_ROWS]
    parts = [
        _good(frame.iloc[start : start + PART_ROWS], signature) for start in range(0, len(frame), PART_ROWS)
    ]
    rows = merge_rows(parts)
    if not rows.values:
        raise BadSample("no row of it fits the model")
    profile = plan.profile(Answered(columns_of(rows.matrix, rows.values, signature.types)))
    stored = [b64encode(section).decode() for section in profile.to_bytes()]
    return {"profile": stored, "rows": len(rows.values), "refused": len(frame) - len(rows.values)}


def _columns_of(frame: Any, signature: Signature) -> Any:
    names = list(signature.names)
    if set(names) <= set(frame.columns):
        return frame[names]
    return frame.iloc[:, : len(names)].set_axis(names, axis=1)


def _good(frame: Any, signature: Signature) -> Rows:
    rows = parse_rows({"instances": cells_of(frame, signature)}, signature, max_rows=PART_ROWS)
    return rows.slice(0, len(rows.good))


def _score(model: Model, parts: list[Rows]) -> Answered:
    """The answers to as many parts as the time allows."""
    until = time.monotonic() + SCORING_SECONDS
    predictions: list[Any] = []
    confidences: list[NDArray[np.float64]] = []
    for part in parts:
        scores = model.score(part)
        predictions += scores.prediction
        sure = scores.confidence()
        confidences.append(np.full(len(scores.prediction), np.nan) if sure is None else np.array(sure))
        if time.monotonic() > until:
            break
    return Answered(predictions=predictions, confidences=np.concatenate(confidences))
