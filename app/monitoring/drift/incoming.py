"""Rows that a caller sends to be looked at, as a window."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.core import clock
from app.evidence.windows import Reference, Window
from app.monitoring.errors import NoGoodRow
from app.runtimes.probe import Prober
from app.runtimes.profiles import Answered, columns_of
from app.runtimes.rows import Rows, parse_rows
from app.runtimes.schema import Signature
from app.stats.profile import Profile, merge

PART_ROWS = 1000


@dataclass(frozen=True)
class Sent:
    """A window, and how many rows did not fit into it."""

    window: Window
    refused: int = 0


async def profile_instances(
    reference: Reference, signature: dict[str, Any], instances: Sequence[Any]
) -> Sent:
    """Rows as a caller would send them for a prediction, part by part, between which the event loop has its turn.

    Raises:
        NoGoodRow: none of them fits the model.
        Refusal: they are no rows at all.
    """
    taken = Signature.from_json(signature)
    profiles, good, first = [], 0, ""
    for start in range(0, len(instances), PART_ROWS):
        rows = parse_rows({"instances": instances[start : start + PART_ROWS]}, taken, max_rows=PART_ROWS)
        first = first or _first_problem(rows)
        good += len(rows.good)
        if rows.good:
            columns = columns_of(rows.matrix, rows.values, taken.types)
            profiles.append(reference.plan.profile(Answered(columns)))
        await asyncio.sleep(0)
    if not profiles:
        raise NoGoodRow(len(instances), first)
    now = clock.now()
    return Sent(Window(now, now, good, 0, merge(profiles)), len(instances) - good)


async def profile_table(
    reference: Reference, signature: dict[str, Any], table: bytes, prober: Prober
) -> Sent:
    """The rows of a CSV or Parquet file, read by a child process.

    Raises:
        BadSample: it can't be read, or no row of it fits the model.
    """
    counted = await prober.profile_table(signature=signature, plan=reference.plan.to_json(), table=table)
    profile, now = Profile.from_bytes(reference.plan.layout, *counted.sections), clock.now()
    return Sent(Window(now, now, counted.rows, 0, profile), counted.refused)


def _first_problem(rows: Rows) -> str:
    for errors in rows.errors.values():
        return f"{errors[0].column or 'the row'} {errors[0].problem}"
    return ""
