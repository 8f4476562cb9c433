"""API keys over HTTP, and who the caller is."""

from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Request, Response, status
from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field

from app.core import keys
from app.core.access import Role, allows, caller_of
from app.core.authenticate import Authenticator
from app.core.edge import Reads, Writes, after_commit, room
from app.core.errors import FieldProblem
from app.core.paging import Page, Paged
from app.core.problems import DatabaseAway, problems
from app.core.wire import Incoming, Line, Outgoing

router = room("/system", "system")

RoleName = Literal["viewer", "caller", "operator", "admin"]
RoleLabel = Annotated[RoleName, BeforeValidator(lambda role: role.label if isinstance(role, Role) else role)]
NO_STORE = {"Cache-Control": "no-store"}


class KeyOrder(Incoming):
    """What a key shall be good for."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "checkout", "role": "caller", "models": ["churn-*"]}}
    )

    name: Line
    role: RoleName
    models: list[Line] = Field(
        list(keys.EVERY_MODEL),
        description="Patterns of model names; `*` and `?` stand for what they do in a shell.",
    )
    expires_at: AwareDatetime | None = None


class KeyOut(Outgoing):
    """A key, without its secret."""

    id: UUID
    name: str
    role: RoleLabel
    models: list[str]
    prefix: str = Field(description="How the key's text begins.")
    made_at: datetime
    made_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To about five minutes.")


class NewKeyOut(KeyOut):
    """A key just made."""

    key: str | None = Field(
        None, description="The key's text: shown once, so null when a repeated `Idempotency-Key` asks again."
    )


class CallerOut(Outgoing):
    """Who the service takes the caller for."""

    name: str
    role: RoleLabel
    models: list[str]


@router.post(
    "/keys",
    status_code=status.HTTP_201_CREATED,
    response_model=NewKeyOut,
    dependencies=[allows(Role.ADMIN)],
    responses=problems(keys.KeyNameTaken, FieldProblem),
)
async def make_key(request: Request, order: KeyOrder, session: Writes) -> Any:
    """Make an API key; its text is in this answer and nowhere else."""
    made = await keys.make_key(
        session,
        name=order.name,
        role=Role[order.role.upper()],
        models=order.models,
        expires_at=order.expires_at,
    )
    _show_once(request, made)
    return made.row


@router.get("/keys", response_model=Page[KeyOut], dependencies=[allows(Role.ADMIN)])
async def list_keys(session: Reads, paging: Paged) -> Any:
    """API keys, newest first, revoked ones included."""
    rows = (await session.scalars(keys.select_keys(paging.after, paging.limit))).all()
    items, following = paging.cut(rows, lambda row: row.id)
    return {"items": items, "next": following}


@router.post(
    "/keys/{key_id}/rotate",
    status_code=status.HTTP_201_CREATED,
    response_model=NewKeyOut,
    dependencies=[allows(Role.ADMIN)],
    responses=problems(keys.KeyNotFound),
)
async def rotate_key(request: Request, key_id: UUID, session: Writes) -> Any:
    """Revoke a key and make one of the same name, role, models and lifetime in its place."""
    made = await keys.rotate_key(session, key_id)
    _show_once(request, made)
    return made.row


@router.delete(
    "/keys/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[allows(Role.ADMIN)],
    responses=problems(keys.KeyNotFound),
)
async def revoke_key(request: Request, key_id: UUID, session: Writes) -> None:
    """Make a key worthless, for good."""
    await keys.revoke_key(session, key_id)
    after_commit(request, partial(_take_notice, request))


@router.get("/whoami", response_model=CallerOut, dependencies=[allows(Role.VIEWER)])
async def describe_caller(request: Request) -> Any:
    """Whom the credentials of this request belong to, and what they allow."""
    return caller_of(request)


async def _take_notice(request: Request) -> None:
    """Have this process know the change before it answers; the others hear of it by notification."""
    authenticator: Authenticator = request.app.state.authenticate
    with suppress(DatabaseAway):
        await authenticator.refresh()


def _show_once(request: Request, made: keys.NewKey) -> None:
    """Put the key's text into the answer only after the receipt of an `Idempotency-Key` was stored without it."""

    async def answer() -> Response:
        await _take_notice(request)
        whole = NewKeyOut.model_validate(made.row).model_copy(update={"key": made.text})
        return Response(whole.model_dump_json(), status.HTTP_201_CREATED, NO_STORE, "application/json")

    after_commit(request, answer)
