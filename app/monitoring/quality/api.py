"""The quality of inputs over HTTP."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastapi import Request
from pydantic import ConfigDict, Field

from app.core.access import Role, allows
from app.core.edge import Begin, Begins, Db, room
from app.core.problems import problems
from app.core.wire import Outgoing
from app.evidence.windows import Reference, start_of_latest
from app.monitoring import queries
from app.monitoring.errors import NoReferenceYet
from app.monitoring.incoming import REFUSED_TABLES, TABLE_BODY, count_instances, count_table, open_reference
from app.monitoring.parameters import REFUSED_REFERENCES, Environment, ModelId
from app.monitoring.quality.looking import (
    Of,
    Rows,
    judge_quality,
    keep_quality,
    rows_of_caller,
    rows_of_log,
    tell_reasons,
)
from app.monitoring.schemas import ReferenceOut, RowsOrder
from app.runtimes import errors as runtime_errors

if TYPE_CHECKING:
    from app.registry.tables import Version

router = room("/models", "monitoring")


class QualityCheck(RowsOrder):
    """Which rows to look at: those of the log in a window, or those that come along."""

    model_config = ConfigDict(json_schema_extra={"example": {"window_hours": 24}})


class ColumnOut(Outgoing):
    """One input."""

    feature: str
    values: int
    flawed: float = Field(description="The share that counts: what is beyond the usual and beyond chance.")
    shares: dict[str, float] = Field(
        description="Of the values: missing, not_finite, below_range, above_range, new_category."
    )
    usual: dict[str, float] = Field(description="The shares that the reference lets expect.")


class RefusalOut(Outgoing):
    """One reason why rows were refused."""

    column: str | None = Field(description="None where the row as a whole was no row.")
    problem: str
    rows: int


class LookedAt(Outgoing):
    """Which rows were looked at."""

    since: datetime | None
    until: datetime | None
    rows: int = Field(description="That could be read.")
    looked_through: int = Field(
        description="Rows looked at one by one, for refusals and repetitions; of the log the latest 5,000 of the window."
    )
    refused: float = Field(description="The share of rows that could not be read.")
    repeated: float = Field(description="The share of rows whose values all are those of another one.")


_A_CHECK: dict[str, Any] = {
    "check_id": "01a1fd46-3f9c-71d3-9878-5c15666f8e2d",
    "model_id": "breast-cancer:3",
    "environment": "production",
    "window": {
        "since": "2026-11-26T12:00:00Z", "until": "2026-11-27T12:00:00Z", "rows": 4210, "looked_through": 4294,
        "refused": 0.0196, "repeated": 0.001,
    },
    "reference": {"kind": "sample", "rows": 400, "made_at": "2026-11-01T08:00:00Z"},
    "quality_score": 0.77,
    "columns": [{
        "feature": "mean radius", "values": 4210, "flawed": 0.214,
        "shares": {"missing": 0.22, "not_finite": 0.0, "below_range": 0.0, "above_range": 0.002, "new_category": 0.0},
        "usual": {"missing": 0.001, "not_finite": 0.001, "below_range": 0.0025, "above_range": 0.0025, "new_category": 0.0},
    }],
    "refusals": [{"column": "mean texture", "problem": "has the wrong type", "rows": 84}],
}  # fmt: skip


class QualityOut(Outgoing):
    """How good the inputs are, and what is wrong with them."""

    model_config = ConfigDict(json_schema_extra={"example": _A_CHECK})

    check_id: UUID
    model_id: str
    environment: str
    window: LookedAt
    reference: ReferenceOut
    quality_score: float | None = Field(
        description="(1 - refused) x (1 - the worst column's flawed share), for rows that come along also x (1 - repeated); "
        "none where there were no rows."
    )
    columns: list[ColumnOut] = Field(description="The inputs, the worst first.")
    refusals: list[RefusalOut] = Field(description="Why rows were refused, the most frequent reasons first.")


@router.post(
    "/{model_id}/quality-check",
    response_model=QualityOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(
        *REFUSED_REFERENCES, NoReferenceYet, runtime_errors.UnknownPayload, runtime_errors.MisshapenPayload
    ),
)
async def check_quality(
    model_id: ModelId,
    order: QualityCheck,
    request: Request,
    database: Db,
    begin: Begins,
    environment: Environment = "production",
) -> Any:
    """Missing, out of range, new, refused, repeated: how good the inputs of a window, or of rows that come along, are."""
    async with database.reads() as reading:
        version, reference = await open_reference(reading, model_id, environment)
        watching = await queries.watching_of(reading, version.model_id, request.app.state.settings)
        since, until = order.ends(watching.window_hours)
        if order.window_rows is not None:
            since = await start_of_latest(
                reading, version.id, environment, rows=order.window_rows, until=until, arm=order.arm
            )
        if order.instances is None:
            rows = await rows_of_log(
                reading, reference, version.model_name,
                environment=environment, since=since, until=until, arm=order.arm,
            )  # fmt: skip
    if order.instances is not None:
        rows = rows_of_caller(await count_instances(reference, version.signature, order.instances))
    return await _judge(begin, version, reference, environment, rows)


@router.post(
    "/{model_id}/quality-check/table",
    response_model=QualityOut,
    openapi_extra=TABLE_BODY,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(*REFUSED_TABLES),
)
async def check_quality_of_table(
    model_id: ModelId,
    request: Request,
    database: Db,
    begin: Begins,
    environment: Environment = "production",
) -> Any:
    """The same for the rows of a CSV or Parquet file, whose columns are found by their names."""
    async with database.reads() as reading:
        version, reference = await open_reference(reading, model_id, environment)
    sent = await count_table(request, reference, version.signature)
    return await _judge(begin, version, reference, environment, rows_of_caller(sent))


async def _judge(
    begin: Begin, version: "Version", reference: Reference, environment: str, rows: Rows
) -> dict[str, Any]:
    quality = await judge_quality(reference, rows)
    of = Of(version.model_id, version.id, version.number, environment)
    row = await keep_quality(await begin(), of, rows, quality)
    repeated = rows.repeated / rows.looked_through if rows.looked_through else 0.0
    window = {name: getattr(rows, name) for name in ("since", "until", "rows", "looked_through", "refused")}
    return {
        "check_id": row.id,
        "model_id": version.model_reference,
        "environment": environment,
        "reference": reference,
        "window": {**window, "repeated": repeated},
        "quality_score": quality.score,
        "columns": quality.columns,
        "refusals": tell_reasons(rows.reasons),
    }
