"""Who is calling: an API key, a token of the identity provider, or somebody at this very machine."""

import base64
import binascii
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import ClassVar, Self

from app.core.access import Caller, NoCredentials, Role
from app.core.config import Settings
from app.core.database import Database
from app.core.errors import Unauthenticated
from app.core.keyring import Keyring
from app.core.keys import is_key
from app.core.notify import Notifications
from app.core.oidc import TokenVerifier

LOCAL_ADMIN = Caller("local", Role.ADMIN)
_BEARER = b"Bearer "


class BadCredentials(Unauthenticated):
    """The credentials are not valid, or no longer.

    What came as `Authorization` or `X-API-Key` is no key of this service that still holds (whole, not revoked, not
    expired), and no token that the identity provider signed for this service and that still holds. Without
    `SWITCHYARD_OIDC_ISSUER` no token counts.
    """

    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer error="invalid_token"'}  # RFC 6750, 3.1

    def detail(self) -> str:
        return (
            "What was sent as Authorization or X-API-Key opens nothing here: check that it is whole and of this "
            "service, or make a new key with `switchyard keys create`."
        )


def serves_this_machine_only(settings: Settings) -> bool:
    """Whether only people at this machine can call; a host name given to it means that a proxy lets others in."""
    return settings.is_loopback and not settings.allowed_hosts


class Authenticator:
    """Finds the caller behind a request's headers. Use as an async context manager.

    Enter it before `notifications`, which it has itself called by.
    """

    def __init__(self, settings: Settings, database: Database, notifications: Notifications) -> None:
        self._keys = Keyring(database, notifications)
        self._tokens = TokenVerifier(settings) if settings.oidc_issuer else None
        self._may_be_open = serves_this_machine_only(settings) and self._tokens is None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._keys)
        if self._tokens:
            await self._stack.enter_async_context(self._tokens)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def __call__(self, headers: Mapping[str, str]) -> Caller:
        """The caller whom these headers identify.

        Raises:
            NoCredentials, BadCredentials: they identify nobody.
            NoRoleInToken, BadModelsInToken: a valid token opens nothing here.
            DatabaseAway, IdentityProviderAway: it can't be told now.
        """
        credential = read_credential(headers)
        if credential is not None:
            return self._find(credential) or await self._look_up(credential)
        if self._is_open:
            return LOCAL_ADMIN
        raise NoCredentials

    def known(self, authorization: bytes | None) -> Caller | None:
        """The caller of an Authorization header, as far as memory tells; for None ask with all headers."""
        if authorization is None:
            return LOCAL_ADMIN if self._is_open else None
        return self._find(authorization[len(_BEARER) :]) if authorization.startswith(_BEARER) else None

    async def refresh(self) -> None:
        """Wait until keys made or revoked before this moment are known to be so.

        Raises:
            DatabaseAway: they can't be read now.
        """
        await self._keys.refresh()

    @property
    def _is_open(self) -> bool:
        return self._may_be_open and self._keys.is_empty

    def _find(self, credential: bytes) -> Caller | None:
        caller = self._keys.find_caller(credential)
        return self._tokens.find_caller(credential) if caller is None and self._tokens else caller

    async def _look_up(self, credential: bytes) -> Caller:
        caller = None
        if is_key(credential):
            await self._keys.refresh()
            caller = self._keys.find_caller(credential)
        elif self._tokens:
            caller = await self._tokens.verify(credential)
        if caller is None:
            raise BadCredentials
        return caller


def read_credential(headers: Mapping[str, str]) -> bytes | None:
    """The key or token that headers carry; one that can't be read is empty, and None means that there is none.

    >>> read_credential({"authorization": "Basic " + base64.b64encode(b"me:sy_1_2").decode()})
    b'sy_1_2'
    """
    given = headers.get("authorization")
    if given is None:
        key = headers.get("x-api-key")
        return None if key is None else _as_bytes(key)
    scheme, _, rest = given.partition(" ")
    if scheme.lower() == "basic":
        return _password(rest)
    return _as_bytes(rest) if scheme.lower() == "bearer" else b""


def _as_bytes(text: str) -> bytes:
    return text.strip().encode("latin-1", "replace")


def _password(credentials: str) -> bytes:
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
