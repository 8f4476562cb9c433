"""The audit trail: who changed what, and the proof that nobody has touched the record since."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query
from pydantic import ConfigDict, Field
from starlette.responses import StreamingResponse

from app.core import facts
from app.core.access import Role, allows
from app.core.database import Database
from app.core.edge import Db, Reads, room
from app.core.errors import FieldProblem
from app.core.facts import FactRow
from app.core.paging import Page, Paged
from app.core.problems import problems
from app.core.scope import KeyTooNarrow, for_every_model
from app.core.wire import Line, Outgoing
from app.evidence.schemas import Moment

router = room("/system/audit", "system")
NDJSON = "application/x-ndjson"
SOME_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
CHUNK_FACTS = 200
EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {"description": "One sealed fact per line.", "content": {NDJSON: {"schema": {"type": "string"}}}}
}


class FactOut(Outgoing):
    """Something that was changed."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "01a1fd46-3f9c-71d3-9878-5c15666f8e2d",
                "sequence": 42,
                "kind": "VersionPromoted",
                "subject": "model:breast-cancer:2",
                "actor": "deploy-bot",
                "role": "operator",
                "request_id": "01a1fd46-3f9b-7f01-8a3c-3d0f5b6c7d8e",
                "at": "2025-03-01T12:00:00Z",
                "body": {"model": "breast-cancer", "version": 2, "environment": "production"},
                "hash": SOME_HASH,
            }
        }
    )

    id: UUID
    sequence: int | None = Field(
        description="Its place in the chain; null until it is sealed, a moment later."
    )
    kind: str
    subject: str
    actor: str
    role: str
    request_id: str | None
    at: datetime
    body: dict[str, Any]
    hash: str | None

    @classmethod
    def of(cls, row: FactRow) -> "FactOut":
        """A fact's row as an answer."""
        same = {name: getattr(row, name) for name in cls.model_fields if name != "hash"}
        return cls(**same, hash=row.hash.hex() if row.hash else None)


class CheckpointOut(Outgoing):
    """The end of the chain, to be noted where whoever can change the database can't."""

    model_config = ConfigDict(json_schema_extra={"example": {"sequence": 42, "hash": SOME_HASH}})

    sequence: int
    hash: str


class VerdictOut(Outgoing):
    """Whether the chain is whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "intact": False,
                "facts": 42,
                "unsealed": 0,
                "head": SOME_HASH,
                "broken_at": 17,
                "problem": "fact 17 is missing",
            }
        }
    )

    intact: bool
    facts: int
    unsealed: int = Field(description="Facts that the sealer has not come to yet.")
    head: str
    broken_at: int | None = Field(description="The first place in the chain where something is wrong.")
    problem: str | None


async def _filters(
    actor: Annotated[Line | None, Query(description="The name of the key that changed something.")] = None,
    subject: Annotated[
        Line | None, Query(description="What was changed; `model:churn` finds `model:churn:3` too.")
    ] = None,
    kind: Annotated[Line | None, Query(description="What happened, such as `VersionPromoted`.")] = None,
    since: Annotated[Moment | None, Query(description="Not earlier than this.")] = None,
    until: Annotated[Moment | None, Query(description="Earlier than this.")] = None,
) -> dict[str, Any]:
    return {"actor": actor, "subject": subject, "kind": kind, "since": since, "until": until}


@router.get(
    "",
    response_model=Page[FactOut],
    dependencies=[allows(Role.OPERATOR), for_every_model()],
    responses=problems(KeyTooNarrow),
)
async def list_facts(
    session: Reads, paging: Paged, filters: Annotated[dict[str, Any], Depends(_filters)]
) -> Any:
    """What was changed, newest first."""
    query = facts.select_facts(**filters).limit(paging.limit + 1)
    if paging.after is not None:
        query = query.where(FactRow.id < UUID(paging.after))
    rows = (await session.scalars(query)).all()
    kept, following = paging.cut(rows, lambda row: str(row.id))
    return {"items": [FactOut.of(row) for row in kept], "next": following}


async def _noted(
    sequence: Annotated[
        int | None, Query(ge=0, le=2**62, description="Of a checkpoint noted earlier.")
    ] = None,
    hash: Annotated[  # noqa: A002 - its name on the wire
        str | None, Query(pattern=r"^[0-9a-f]{64}$", description="Of the same checkpoint.")
    ] = None,
) -> tuple[int, str] | None:
    if (sequence is None) != (hash is None):
        raise FieldProblem("sequence, hash", "a checkpoint has both")
    return None if sequence is None or hash is None else (sequence, hash)


@router.get(
    "/verify",
    response_model=VerdictOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(FieldProblem),
)
async def verify_facts(session: Reads, checkpoint: Annotated[tuple[int, str] | None, Depends(_noted)]) -> Any:
    """Recompute the whole chain; with a checkpoint noted earlier a tail that was cut off shows too."""
    return await facts.verify_facts(session, checkpoint=checkpoint)


@router.get("/checkpoint", response_model=CheckpointOut, dependencies=[allows(Role.OPERATOR)])
async def read_checkpoint(session: Reads) -> Any:
    """Where the chain ends now: note it elsewhere, and `verify` it later."""
    sequence, head = await facts.read_head(session)
    return {"sequence": sequence, "hash": head.hex()}


@router.get(
    "/export",
    response_class=StreamingResponse,
    dependencies=[allows(Role.OPERATOR), for_every_model()],
    responses=EXPORTED | problems(KeyTooNarrow),
)
async def export_facts(database: Db) -> StreamingResponse:
    """The whole chain as NDJSON, one sealed fact per line, oldest first; `docs/audit.md` shows how to check it."""
    name = {"Content-Disposition": 'attachment; filename="audit.ndjson"'}
    return StreamingResponse(_lines(database), media_type=NDJSON, headers=name)


async def _lines(database: Database) -> AsyncIterator[bytes]:
    lines: list[str] = []
    async with database.reads() as session:
        async for fact in facts.list_sealed(session):
            assert fact.hash is not None
            lines.append(json.dumps(facts.sealed_form(fact) | {"hash": fact.hash.hex()}) + "\n")
            if len(lines) == CHUNK_FACTS:
                yield "".join(lines).encode()
                lines.clear()
    yield "".join(lines).encode()
