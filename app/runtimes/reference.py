"""What the probe's child does for monitoring: the plan and the profile of a version's reference sample."""

import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.runtimes.errors import BadSample
from app.runtimes.formats import detect_format
from app.runtimes.groups import Slicing, column_of, group_column
from app.runtimes.loading import load_model
from app.runtimes.profiles import Answered, Plan, columns_of, make_plan
from app.runtimes.row_files import is_csv, read_sample
from app.runtimes.row_order import in_order_of, row_order, weekly
from app.runtimes.rows import Rows, merge_rows
from app.runtimes.samples import (
    cells_of,
    require_columns,
    signed_columns,
    spread_rows,
)
from app.runtimes.schema import ColumnType, Signature
from app.runtimes.scores import Model
from app.runtimes.sifting import MOST_ROWS, LeftOut, cells_apart, sift
from app.runtimes.tally import PART_ROWS, Tally
from app.stats.profile import Profile
from app.stats.seasons import hours_of_week

SCORING_SECONDS = 5.0
"""How long rows are scored for the profile of answers; a slow model has a smaller reference for them."""


def profile_reference(directory: Path, sample: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """The plan that a reference sample gives, its profile along it, and what the times of its rows tell.

    Raises:
        BadSample: it holds no row that the model takes, or no times where it should.
    """
    signature, time_column = Signature.from_json(options["signature"]), options.get("time_column")
    ordered, times, _ = in_order_of(_open(sample, signature), time_column)
    whole = signed_columns(ordered, signature)
    frame = cells_apart(spread_rows(whole, MOST_ROWS), signature, is_csv=is_csv(sample))
    rows, parts, kept = _read(frame, signature)
    file = detect_format(directory, allowed_unsafe=tuple(options.get("allowed_unsafe", ())))
    answers = _score(load_model(file, signature), parts)
    asked = Answered(columns_of(rows.matrix, rows.values, signature.types))
    both = Answered(asked.inputs, answers.predictions, answers.confidences)
    plan = make_plan(signature, both)
    profile = plan.reference(asked, answers)
    seconds = None if times is None else np.asarray(times.loc[frame.index[kept]], np.int64)
    order = row_order(plan, profile, both, seconds, is_whole=len(frame) == len(whole))
    week = [
        (hour, count, _encoded(of_hour)) for hour, count, of_hour in weekly(plan, [asked, answers], seconds)
    ]
    return {
        "plan": plan.to_json(), "profile": _encoded(profile), "rows": len(rows.values), "order": order.to_json(), "week": week,
    }  # fmt: skip


def _read(frame: Any, signature: Signature) -> tuple[Rows, list[Rows], NDArray[np.intp]]:
    """The rows that the model takes, together and in parts, and where in the frame they are."""
    parts: list[Rows] = []
    places: list[int] = []
    for part, good in sift(frame, signature, LeftOut(len(frame))):
        parts.append(part)
        places += good
    if not parts:
        raise BadSample("no row of it fits the model")
    return merge_rows(parts), parts, np.array(places, np.intp)


def _open(sample: bytes, signature: Signature) -> Any:
    return read_sample(sample, signature.names_of(ColumnType.STRING))


def _encoded(profile: Profile) -> list[str]:
    return [b64encode(section).decode() for section in profile.to_bytes()]


def profile_table(_directory: Path, table: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """The tally of a table along a plan that is there already.

    Raises:
        BadSample: it is no table, is too long, or its columns aren't those that the model wants.
    """
    tally = Tally(Plan.from_json(options["plan"]), Signature.from_json(options["signature"]))
    frame = _wanted_of(_open(table, tally.signature), tally.signature)
    frame = cells_apart(frame, tally.signature, is_csv=is_csv(table))
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
    require_columns(frame, names, "table")
    if len(frame) > MOST_ROWS:
        raise BadSample(f"the table holds {len(frame)} rows; send at most {MOST_ROWS}, such as a random part")
    return frame[names]


def profile_slices(_directory: Path, sample: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """The profile of each group of one column of a reference sample, along a plan that is there already.

    Raises:
        BadSample: it holds no row that the model takes.
    """
    signature, plan = Signature.from_json(options["signature"]), Plan.from_json(options["plan"])
    by = Slicing(**options["by"])
    ordered, times, _ = in_order_of(_open(sample, signature), by.times)
    frame = spread_rows(signed_columns(ordered, signature), MOST_ROWS)
    rows, _, kept = _read(cells_apart(frame, signature, is_csv=is_csv(sample)), signature)
    cells = column_of(rows.values, by.place)
    groups = group_column(signature.inputs[by.place], cells, by.most)
    asked = Answered(columns_of(rows.matrix, rows.values, signature.types))
    is_wanted = np.ones(len(kept), np.bool_)
    if times is not None and by.hours is not None:
        is_wanted = np.isin(hours_of_week(times.loc[frame.index[kept]]), by.hours)
    parts = [places[is_wanted[places]] for places in groups.places(cells)]
    slices = [(len(places), _encoded(plan.reference(asked.at(places)))) for places in parts]
    return {"groups": groups.to_json(), "slices": slices}


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
