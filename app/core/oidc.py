"""Bearer tokens of an OpenID Connect provider: checked here, by its public keys, without asking it.

Only RS256 and ES256 count, and a key verifies only with its own algorithm, so that neither `none` nor a
public key taken for an HMAC secret gets past (RFC 8725, sections 2.1 and 3.1).
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import jwt
import structlog

from app.core import clock
from app.core.access import Caller, Role
from app.core.background import Background
from app.core.config import Settings
from app.core.errors import Forbidden, Unavailable
from app.core.keys import EVERY_MODEL
from app.core.wire import storable

log = structlog.get_logger()

ALGORITHMS = ("RS256", "ES256")
LEEWAY = timedelta(seconds=30)
FETCH_TIMEOUT_SECONDS = 5.0
RENEWAL_SECONDS = 600.0  # how long a key that the provider withdrew may still count
REFETCH = timedelta(seconds=60)  # unknown key ids make us ask the provider at most this often
RETRY = timedelta(seconds=5)
REMEMBERED = timedelta(seconds=60)
MAX_REMEMBERED = 10_000
_ROLES = {role.label: role for role in Role}


@dataclass(eq=False)
class NoRoleInToken(Forbidden):
    """The token gives no role here.

    A token's role stands in one of its claims, the one that `SWITCHYARD_OIDC_ROLE_CLAIM` names (`roles` where
    nothing is set). The token is valid, but has no such claim, or none of viewer, caller, operator and admin
    in it.
    """

    claim: str

    def detail(self) -> str:
        return (
            f"The token is valid, but its claim {self.claim!r} names none of {', '.join(_ROLES)}; "
            "ask whoever runs the identity provider to grant one."
        )


@dataclass(eq=False)
class BadModelsInToken(Forbidden):
    """The token's limit to some models can't be read.

    The claim `models` limits a token to some models by patterns of their names. In this token it is something
    else than a text or a list of texts, and to guess what was meant could open too much.
    """

    def detail(self) -> str:
        return "The token is valid, but its claim 'models' is neither a name pattern nor a list of them."


class IdentityProviderAway(Unavailable):
    """The identity provider's keys are not known yet.

    Tokens are checked by the public keys of the identity provider, and since this process began none could be
    fetched, or none is for RS256 or ES256. Every token that comes has them asked for anew, after a failure at
    most once in 5 seconds; API keys don't need them.
    """

    def detail(self) -> str:
        return "The identity provider's keys could not be fetched yet, so no token can be checked; API keys work."


class Jwks:
    """The provider's public keys by their id, from an address or a file. Use as an async context manager.

    Raises:
        ValueError: they would travel without encryption.
    """

    def __init__(self, source: str) -> None:
        _require_encryption(source)
        self._source = source
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._due_at = datetime.min.replace(tzinfo=UTC)
        self._lock = asyncio.Lock()
        self._upkeep = Background("jwks", self._renew)

    async def __aenter__(self) -> Self:
        self._upkeep.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._upkeep.stop()

    async def find_key(self, key_id: str | None) -> jwt.PyJWK | None:
        """The key of this id; a token may leave the id out when the provider has only one key.

        Raises:
            IdentityProviderAway: no keys could be fetched since the start.
        """
        if key_id not in self._keys:
            await self._fetch_if_due()
        if not self._keys:
            raise IdentityProviderAway
        return self._keys.get(key_id)

    async def _renew(self) -> None:
        while True:
            await self._fetch_if_due()
            await asyncio.sleep(RENEWAL_SECONDS)

    async def _fetch_if_due(self) -> None:
        async with self._lock:
            if clock.now() < self._due_at:
                return
            try:
                self._keys = _usable_keys(await self._load())
                self._due_at = clock.now() + REFETCH
            except (httpx.HTTPError, OSError, ValueError, jwt.PyJWTError) as error:
                self._due_at = clock.now() + RETRY
                log.warning("jwks_not_fetched", source=self._source, error=repr(error))

    async def _load(self) -> Any:
        if "://" not in self._source:
            return json.loads(await asyncio.to_thread(Path(self._source).read_bytes))
        async with httpx.AsyncClient(timeout=FETCH_TIMEOUT_SECONDS) as client:
            answer = await client.get(self._source)
        return answer.raise_for_status().json()


def _require_encryption(source: str) -> None:
    parts = urlsplit(source)
    if (
        "://" in source
        and parts.scheme != "https"
        and parts.hostname not in {"127.0.0.1", "::1", "localhost"}
    ):
        raise ValueError(f"SWITCHYARD_OIDC_JWKS must be an https:// address or a file, not {source}")


def _usable_keys(document: Any) -> dict[str | None, jwt.PyJWK]:
    if not isinstance(document, dict):
        raise ValueError("a JWK set is a JSON object (RFC 7517, section 5)")  # noqa: TRY004 - input, not a call
    usable = [
        key
        for key in jwt.PyJWKSet.from_dict(document)
        if key.algorithm_name in ALGORITHMS and key.public_key_use in {None, "sig"}
    ]
    keys: dict[str | None, jwt.PyJWK] = {key.key_id: key for key in usable}
    return keys | {None: usable[0]} if len(usable) == 1 else keys


class TokenVerifier:
    """Callers by their tokens. Use as an async context manager."""

    def __init__(self, settings: Settings) -> None:
        assert settings.oidc_jwks
        self._issuer, self._audience = settings.oidc_issuer, settings.oidc_audience
        self._role_claim = settings.oidc_role_claim
        self._jwks = Jwks(settings.oidc_jwks)
        self._remembered: dict[bytes, tuple[Caller, datetime]] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._jwks)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def find_caller(self, token: bytes) -> Caller | None:
        """Whose token this is, if it was verified a moment ago."""
        caller, until = self._remembered.get(hashlib.sha256(token).digest(), (None, None))
        return caller if until and clock.now() < until else None

    async def verify(self, token: bytes) -> Caller | None:
        """Whose token this is; None when it is not a valid one.

        Raises:
            NoRoleInToken, BadModelsInToken: it is valid, but opens nothing.
            IdentityProviderAway: nothing can be verified yet.
        """
        try:
            key = await self._jwks.find_key(jwt.get_unverified_header(token).get("kid"))
            claims = self._decode(token, key) if key else None
        except (jwt.PyJWTError, ValueError, RecursionError):
            return None
        if claims is None:
            return None
        caller = self._caller(claims)
        self._remember(token, caller, claims["exp"])
        return caller

    def _decode(self, token: bytes, key: jwt.PyJWK) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            issuer=self._issuer,
            audience=self._audience,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
        )
        storable(claims["sub"])
        return claims

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        role = highest_role(claims.get(self._role_claim))
        if role is None:
            raise NoRoleInToken(self._role_claim)
        return Caller(f"oidc:{claims['sub']}", role, _model_patterns(claims.get("models")))

    def _remember(self, token: bytes, caller: Caller, expires: float) -> None:
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        until = min(clock.now() + REMEMBERED, datetime.fromtimestamp(expires, UTC))
        self._remembered[hashlib.sha256(token).digest()] = caller, until


def highest_role(claim: Any) -> Role | None:
    """The highest role that a claim names, as a list or as words; other names in it mean nothing here.

    >>> highest_role(["staff", "viewer", "operator"]), highest_role("admin"), highest_role(None)
    (<Role.OPERATOR: 3>, <Role.ADMIN: 4>, None)
    """
    names = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return max((_ROLES[name] for name in names if isinstance(name, str) and name in _ROLES), default=None)


def _model_patterns(claim: Any) -> tuple[str, ...]:
    if claim is None:
        return EVERY_MODEL
    patterns = [claim] if isinstance(claim, str) else claim
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise BadModelsInToken
    return tuple(patterns)
