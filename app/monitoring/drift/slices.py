"""Drift within the groups of one column: the latest rows of a window beside the same groups of the reference sample."""

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import FieldProblem
from app.evidence.latest import MOST_ROWS, Latest
from app.evidence.windows import read_window, start_of_latest
from app.monitoring.drift.actions import Terms, judge_profile
from app.monitoring.drift.cases import Case
from app.monitoring.drift.rules import MOST_NAMED, DriftVerdict
from app.monitoring.kinds import Finding, HeldAgainst, Season
from app.monitoring.parameters import place_of
from app.runtimes.groups import Groups, Slicing, column_of, most_slices
from app.runtimes.probe import Prober
from app.runtimes.profiles import Answered, Plan, columns_of
from app.runtimes.schema import Signature
from app.stats.profile import Profile


@dataclass(frozen=True)
class Part:
    """Rows of one group, and their profile."""

    rows: int
    profile: Profile


@dataclass(frozen=True)
class Slices:
    """What is looked at: of the plan the inputs, and the groups of the reference sample by one of them.

    Attributes:
        hours: of the week, to which the sample's rows belong; None for all.
    """

    column: str
    place: int
    plan: Plan
    groups: Groups
    was: list[Part]
    hours: list[int] | None


def place_in(case: Case, column: str) -> int:
    """Where a column stands among the version's inputs.

    Raises:
        FieldProblem: it is none of them, or there is no sample whose groups could be told apart.
    """
    place = place_of(Signature.from_json(case.version.signature), column, "slice_by")
    if sample_digest(case) is None:
        raise FieldProblem(
            "slice_by", "needs a reference sample to compare groups with; register a version with one"
        )
    return place


def sample_digest(case: Case) -> str | None:
    """Where the version's reference sample is stored."""
    digest: str | None = (case.version.probe.get("rows") or {}).get("reference")
    return digest


async def find_hours(
    session: AsyncSession, case: Case, *, since: datetime, until: datetime, arm: str | None
) -> list[int] | None:
    """The hours of the week of a window's latest rows, where the sample's rows have times; else None."""
    if case.known.season != Season.OF_REFERENCE:
        return None
    first = await start_of_latest(
        session, case.version_id, case.environment, rows=MOST_ROWS, until=until, arm=arm
    )
    window = await read_window(
        session, case.reference, environment=case.environment, since=max(since, first), until=until, arm=arm
    )
    return None if window.hours is None else np.flatnonzero(window.hours).tolist()


async def slice_reference(
    case: Case,
    column: str,
    place: int,
    sample: AsyncIterable[bytes],
    prober: Prober,
    *,
    hours: list[int] | None,
) -> Slices:
    """The groups of a reference sample, or of its rows of some hours of the week, read by a child process.

    Raises:
        Refusal: it can't be read any more.
    """
    signature = Signature.from_json(case.version.signature)
    plan = Plan(tuple(each for each in case.reference.plan.columns if each.is_input))
    told = await prober.profile_slices(
        signature=case.version.signature,
        plan=plan.to_json(),
        sample=b"".join([block async for block in sample]),
        by=Slicing(
            place, most_slices(signature.inputs[place]), case.version.probe.get("reference_time"), hours
        ),
    )
    parts = [Part(rows, Profile.from_bytes(plan.layout, *sections)) for rows, sections in told.slices]
    return Slices(column, place, plan, Groups.from_json(told.groups), parts, hours)


async def judge_slices(case: Case, slices: Slices, latest: Latest, terms: Terms) -> dict[str, Any]:
    """Hold each group of the latest rows against the same group of the reference, in a thread."""
    return await asyncio.to_thread(_judge_slices, case, slices, latest, terms)


def _judge_slices(case: Case, slices: Slices, latest: Latest, terms: Terms) -> dict[str, Any]:
    now = _parts_of(case, slices, latest)
    names = slices.groups.names
    used = [i for i, part in enumerate(now) if part.rows]
    shared = Terms(terms.threshold, terms.false_alarms / max(1, len(used)))
    told = [_judge(case, slices, names[i], slices.was[i], now[i], shared) for i in used]
    return {
        "column": slices.column, "rows": sum(part.rows for part in now),
        "held_against": HeldAgainst.ALL_HOURS if slices.hours is None else HeldAgainst.SAME_HOURS, "groups": told,
    }  # fmt: skip


def _parts_of(case: Case, slices: Slices, latest: Latest) -> list[Part]:
    signature = Signature.from_json(case.version.signature)
    rows = [row for row in latest.features or () if row is not None]
    if not rows:
        return [Part(0, Profile.empty(slices.plan.layout)) for _ in slices.was]
    asked = Answered(columns_of(None, rows, signature.types))
    places = slices.groups.places(column_of(rows, slices.place))
    return [Part(len(each), slices.plan.profile(asked.at(each))) for each in places]


def _judge(case: Case, slices: Slices, name: str, was: Part, now: Part, terms: Terms) -> dict[str, Any]:
    told: dict[str, Any] = {"group": name, "rows": now.rows, "reference_rows": was.rows}
    if not was.rows:  # a group that the reference does not have can't have drifted
        told |= dict.fromkeys(("drift_score", "drift_score_interval", "rows_needed"))
        return told | {"finding": Finding.TOO_LITTLE_DATA, "features_to_look_at": []}
    verdict = _compare(case, slices.plan, was, now, terms)
    return told | {
        "finding": verdict.finding,
        "drift_score": verdict.score,
        "drift_score_interval": (verdict.low, verdict.high),
        "rows_needed": verdict.rows_needed if verdict.finding == Finding.TOO_LITTLE_DATA else 0,
        "features_to_look_at": [each.column.name for each in verdict.drifted[:MOST_NAMED]],
    }


def _compare(case: Case, plan: Plan, was: Part, now: Part, terms: Terms) -> DriftVerdict:
    from app.stats.reference import Reference as Prepared  # noqa: PLC0415 - and SciPy with it

    is_input = np.array([each.is_input for each in case.reference.plan.columns])
    counting = case.known.design_effects(is_cautious=terms.is_cautious)[is_input]
    return judge_profile(
        plan.columns, Prepared(was.profile), now.profile, terms, case.importances,
        design_effects=counting, rows=now.rows, reference_rows=was.rows,
    )  # fmt: skip
