"""What the probe's child does for monitoring: the plan and the profile of a version's reference sample."""

import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.runtimes.errors import BadSample
from app.runtimes.formats import detect_format
from app.runtimes.groups import column_of, group_column
from app.runtimes.loading import load_model
from app.runtimes.profiles import Answered, Plan, columns_of, make_plan
from app.runtimes.row_order import in_order_of, row_order, weekly
from app.runtimes.rows import Rows, merge_rows, parse_rows
from app.runtimes.samples import cells_of, read_sample, spread_rows
from app.runtimes.schema import ColumnType, Signature
from app.runtimes.scores import Model
from app.runtimes.tally import PART_ROWS, Tally
from app.stats.profile import Profile

MOST_ROWS = 100_000
PARQUET = b"PAR1"
SCORING_SECONDS = 5.0
"""How long rows are scored for the profile of answers; a slow model has a smaller reference for them."""


def profile_reference(directory: Path, sample: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """The plan that a reference sample gives, its profile along it, and what the times of its rows tell.

    Raises:
        BadSample: it holds no row that the model takes, or no times where it should.
    """
    signature, time_column = Signature.from_json(options["signature"]), options.get("time_column")
    whole = _columns_of(in_order_of(read_sample(sample), time_column), signature)
    frame = spread_rows(whole, MOST_ROWS)
    rows, parts, kept = _read(frame, signature)
    file = detect_format(directory, allowed_unsafe=tuple(options.get("allowed_unsafe", ())))
    answers = _score(load_model(file, signature), parts)
    asked = Answered(columns_of(rows.matrix, rows.values, signature.types))
    both = Answered(asked.inputs, answers.predictions, answers.confidences)
    plan = make_plan(signature, both)
    profile = plan.reference(asked, answers)
    seconds = None if time_column is None else frame.index.to_numpy()[kept]
    order = row_order(plan, profile, both, seconds, is_whole=len(frame) == len(whole))
    week = [
        (hour, count, _encoded(of_hour)) for hour, count, of_hour in weekly(plan, [asked, answers], seconds)
    ]
    return {
        "plan": plan.to_json(), "profile": _encoded(profile), "rows": len(rows.values), "order": order.to_json(), "week": week,
    }  # fmt: skip


def _read(frame: Any, signature: Signature) -> tuple[Rows, list[Rows], NDArray[np.intp]]:
    """The rows that the model takes, together and in parts, and where in the frame they are."""
    parts, places = [], []
    for start in range(0, len(frame), PART_ROWS):
        rows = parse_rows(
            {"instances": cells_of(frame.iloc[start : start + PART_ROWS], signature)},
            signature,
            max_rows=PART_ROWS,
        )
        places += [start + place for place in rows.good]
        parts.append(rows.slice(0, len(rows.good)))
    merged = merge_rows(parts)
    if not merged.values:
        raise BadSample("no row of it fits the model")
    return merged, parts, np.array(places, np.intp)


def _encoded(profile: Profile) -> list[str]:
    return [b64encode(section).decode() for section in profile.to_bytes()]


def profile_table(_directory: Path, table: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """The tally of a table along a plan that is there already.

    Raises:
        BadSample: it is no table, is too long, or its columns aren't those that the model wants.
    """
    tally = Tally(Plan.from_json(options["plan"]), Signature.from_json(options["signature"]))
    frame = _wanted_of(read_sample(table), tally.signature)
    if not table.startswith(PARQUET):
        frame = _numbers_apart(frame, tally.signature)
    for start in range(0, len(frame), PART_ROWS):
        tally.add(cells_of(frame.iloc[start : start + PART_ROWS], tally.signature))
    return {
        "rows": tally.rows, "refused": tally.refused, "repeated": tally.repeated,
        "reasons": [(*reason, count) for reason, count in tally.reasons.items()],
        "profile": None if tally.profile is None else _encoded(tally.profile),
    }  # fmt: skip


def _wanted_of(frame: Any, signature: Signature) -> Any:
    """The columns of a table that the model wants, in its order."""
    names = list(signature.names)
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise BadSample(f"the table lacks columns that the model wants: {', '.join(missing[:10])}")
    if len(frame) > MOST_ROWS:
        raise BadSample(f"the table holds {len(frame)} rows; send at most {MOST_ROWS}, such as a random part")
    return frame[names]


def _numbers_apart(frame: Any, signature: Signature) -> Any:
    """The rows of a CSV whose columns of numbers hold something else as well: that makes text of the whole column."""
    import pandas as pd  # noqa: PLC0415 - a child that reads a table has it already

    told = {}
    for column in signature.inputs:
        cells = frame[column.name]
        if column.type in (ColumnType.FLOAT, ColumnType.INTEGER) and pd.api.types.is_string_dtype(
            cells.dtype
        ):
            numbers = pd.to_numeric(cells, errors="coerce")
            told[column.name] = [
                cell if np.isnan(number) else int(number) if number.is_integer() else number
                for cell, number in zip(cells, numbers.astype(float), strict=True)
            ]
    return frame.assign(**told)


def profile_slices(_directory: Path, sample: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """The profile of each group of one column of a reference sample, along a plan that is there already.

    Raises:
        BadSample: it holds no row that the model takes.
    """
    signature, plan = Signature.from_json(options["signature"]), Plan.from_json(options["plan"])
    place, most = options["place"], options["most"]
    frame = spread_rows(_columns_of(read_sample(sample), signature), MOST_ROWS)
    rows, _, _ = _read(frame, signature)
    cells = column_of(rows.values, place)
    groups = group_column(signature.inputs[place], cells, most)
    asked = Answered(columns_of(rows.matrix, rows.values, signature.types))
    slices = [(len(places), _encoded(plan.reference(asked.at(places)))) for places in groups.places(cells)]
    return {"groups": groups.to_json(), "slices": slices}


def _columns_of(frame: Any, signature: Signature) -> Any:
    names = list(signature.names)
    if set(names) <= set(frame.columns):
        return frame[names]
    return frame.iloc[:, : len(names)].set_axis(names, axis=1)


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
