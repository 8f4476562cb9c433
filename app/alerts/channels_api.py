"""Channels and deliveries over HTTP."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Request, Response, status

from app.alerts import channels, errors, queries
from app.alerts.addresses import Network
from app.alerts.channel_schemas import ChannelOrder, ChannelOut, NewChannelOut, RotatedOut, RotationOrder
from app.alerts.channels import FROM_ENVIRONMENT, Draft, shown_address
from app.alerts.egress import NotDeliveredError, read_target
from app.alerts.kinds import ChannelKind, DeliveryState
from app.alerts.schemas import DeliveryOut, Name
from app.alerts.senders import ask_apprise
from app.alerts.signing import new_secret
from app.core.access import Role, allows, caller_of
from app.core.config import variable_of
from app.core.edge import Begins, Reads, Writes, after_commit, room
from app.core.errors import FieldProblem
from app.core.paging import Page, Paged
from app.core.problems import problems
from app.core.scope import KeyTooNarrow, for_every_model

router = room("/system", "alerts")
ChannelName = Annotated[Name, Path(examples=["on-call"])]
MayChange = [allows(Role.ADMIN), for_every_model()]
NO_STORE = {"Cache-Control": "no-store"}


@router.get("/channels", response_model=Page[ChannelOut], dependencies=[allows(Role.VIEWER)])
async def list_channels(session: Reads, paging: Paged) -> Any:
    """Channels by name, without their addresses and secrets."""
    query = queries.select_channels(paging.after, paging.limit)
    rows, following = paging.cut((await session.scalars(query)).all(), lambda row: row.name)
    return {"items": rows, "next": following}


@router.post(
    "/channels",
    status_code=status.HTTP_201_CREATED,
    response_model=NewChannelOut,
    dependencies=MayChange,
    responses=problems(errors.ChannelExists, errors.TargetRefused, FieldProblem, KeyTooNarrow),
)
async def make_channel(order: ChannelOrder, request: Request, begin: Begins) -> Any:
    """Add a way to tell of incidents. A webhook's signing secret is in this answer and nowhere else."""
    state = request.app.state
    draft = await draft_channel(order, state.settings.allowed_targets)
    row = await channels.make_channel(await begin(), draft, state.vault)
    secret = draft.particulars.get("secret")
    if secret:
        _show_once(request, NewChannelOut.model_validate(row), secret, status.HTTP_201_CREATED)
    return row


@router.post(
    "/channels/{channel}/rotate-secret",
    response_model=RotatedOut,
    dependencies=MayChange,
    responses=problems(
        errors.ChannelNotFound,
        errors.SignsNothing,
        errors.ChannelUnreadable,
        errors.TooManySecrets,
        KeyTooNarrow,
    ),
)
async def rotate_secret(
    channel: ChannelName, request: Request, session: Writes, order: RotationOrder | None = None
) -> Any:
    """Sign a webhook's messages with another secret, which is in this answer and nowhere else, and for a time with both."""
    grace = timedelta(hours=(order or RotationOrder()).grace_hours)
    rotated = await channels.rotate_secret(session, channel, request.app.state.vault, grace=grace)
    shown = ChannelOut.model_validate(rotated.channel).model_dump()
    made = RotatedOut(**shown, earlier_until=rotated.until)
    _show_once(request, made, rotated.secret, status.HTTP_200_OK)
    return made


def _show_once(request: Request, made: NewChannelOut, secret: str, code: int) -> None:
    """Put the secret into the answer only after the receipt of an `Idempotency-Key` was stored without it."""

    async def answer() -> Response:
        whole = made.model_copy(update={"secret": secret})
        return Response(whole.model_dump_json(), code, NO_STORE, "application/json")

    after_commit(request, answer)


@router.delete(
    "/channels/{channel}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=MayChange,
    responses=problems(errors.ChannelNotFound, errors.ChannelConfigured, errors.ChannelInUse, KeyTooNarrow),
)
async def delete_channel(channel: ChannelName, session: Writes) -> None:
    """Take a way to tell of incidents away; what is still to be sent there is given up."""
    await channels.delete_channel(session, channel)


@router.post(
    "/channels/{channel}/test",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=DeliveryOut,
    dependencies=MayChange,
    responses=problems(errors.ChannelNotFound, KeyTooNarrow),
)
async def test_channel(channel: ChannelName, session: Writes, response: Response) -> Any:
    """Send a message that tells of nothing; `Location` tells where to see how it went."""
    delivery = await channels.test_channel(session, channel)
    response.headers["Location"] = f"/api/system/deliveries/{delivery.id}"
    return DeliveryOut.of(delivery)


@router.get("/deliveries", response_model=Page[DeliveryOut], dependencies=[allows(Role.VIEWER)])
async def list_deliveries(
    request: Request,
    session: Reads,
    paging: Paged,
    channel: Name | None = None,
    state: Annotated[DeliveryState | None, Query()] = None,
) -> Any:
    """Messages to channels, newest first: how often each was tried, and why it failed."""
    query = queries.select_deliveries(
        caller_of(request), channel=channel, state=state, after=paging.after, limit=paging.limit
    )
    rows, following = paging.cut((await session.scalars(query)).all(), lambda row: str(row.id))
    return {"items": [DeliveryOut.of(row) for row in rows], "next": following}


@router.get(
    "/deliveries/{delivery_id}",
    response_model=DeliveryOut,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(errors.DeliveryNotFound),
)
async def get_delivery(delivery_id: UUID, request: Request, session: Reads) -> Any:
    """One message to one channel."""
    return DeliveryOut.of(await queries.get_delivery(session, delivery_id, caller_of(request)))


async def draft_channel(order: ChannelOrder, allowed: Sequence[Network]) -> Draft:
    """What an order for a channel comes to.

    Raises:
        FieldProblem: it lacks what its kind needs, or says what its kind can't use.
        TargetRefused: it leads to a machine that the service may not connect to.
    """
    if order.name in FROM_ENVIRONMENT:
        variable = variable_of(FROM_ENVIRONMENT[order.name])
        raise FieldProblem("name", f"{order.name!r} is kept for the channel that {variable} brings")
    wanted, optional = _FIELDS[order.kind]
    for field in ("url", "routing_key", "to"):
        given = bool(getattr(order, field))
        if field in wanted and not given:
            raise FieldProblem(field, f"a channel of the kind {order.kind} needs it")
        if given and field not in wanted | optional:
            raise FieldProblem(field, f"a channel of the kind {order.kind} has no use for it")
    if order.kind is ChannelKind.APPRISE:
        await _require_understood(order.url or "", allowed)
    elif order.url:
        read_target(order.url, allowed)
    shown, particulars = _PARTICULARS[order.kind](order)
    return Draft(order.name, order.kind, shown, particulars)


async def _require_understood(url: str, allowed: Sequence[Network]) -> None:
    try:
        result = await ask_apprise({"url": url, "allowed": list(map(str, allowed))})
    except NotDeliveredError as error:
        raise FieldProblem("url", str(error)) from error
    if result["problem"]:
        raise FieldProblem("url", result["problem"])


_NOTHING: frozenset[str] = frozenset()
_FIELDS: Mapping[ChannelKind, tuple[frozenset[str], frozenset[str]]] = {
    ChannelKind.WEBHOOK: (frozenset({"url"}), _NOTHING),
    ChannelKind.SLACK: (frozenset({"url"}), _NOTHING),
    ChannelKind.PAGERDUTY: (frozenset({"routing_key"}), frozenset({"url"})),
    ChannelKind.EMAIL: (frozenset({"to"}), _NOTHING),
    ChannelKind.APPRISE: (frozenset({"url"}), _NOTHING),
}
"""What a channel of each kind must and what it may be told."""


def _of_webhook(order: ChannelOrder) -> tuple[str, dict[str, Any]]:
    return shown_address(order.url or ""), {"url": order.url, "secret": new_secret()}


def _of_slack(order: ChannelOrder) -> tuple[str, dict[str, Any]]:
    return shown_address(order.url or ""), {"url": order.url}


def _of_pagerduty(order: ChannelOrder) -> tuple[str, dict[str, Any]]:
    shown = shown_address(order.url) if order.url else "PagerDuty"
    return shown, {"routing_key": order.routing_key, "url": order.url}


def _of_email(order: ChannelOrder) -> tuple[str, dict[str, Any]]:
    for address in order.to or ():
        if not _is_mailbox(address):
            raise FieldProblem("to", f"{address!r} is no address of e-mail")
    return ", ".join(order.to or ()), {"to": order.to}


def _is_mailbox(address: str) -> bool:
    name, at, host = address.rpartition("@")
    return (
        bool(name and at and host)
        and address.isascii()
        and address.isprintable()
        and not set(address) & set(' ,;<>"()[]:\\')
    )


def _of_apprise(order: ChannelOrder) -> tuple[str, dict[str, Any]]:
    return f"{(order.url or '').partition('://')[0]}://…", {"url": order.url}


_PARTICULARS: Mapping[ChannelKind, Callable[[ChannelOrder], tuple[str, dict[str, Any]]]] = {
    ChannelKind.WEBHOOK: _of_webhook,
    ChannelKind.SLACK: _of_slack,
    ChannelKind.PAGERDUTY: _of_pagerduty,
    ChannelKind.EMAIL: _of_email,
    ChannelKind.APPRISE: _of_apprise,
}
