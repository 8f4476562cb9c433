"""API keys: shown once when they are made, kept as a digest, limited by role, models and time.

A key reads `sy_<prefix>_<secret>`. The prefix finds its row and may be shown. The secret is 256 random bits,
so one SHA-256 protects it: a slow password hash slows down guessing, and there is nothing here to guess.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Enum, Index, LargeBinary, Select, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core import clock
from app.core.access import Role
from app.core.database import Base
from app.core.errors import Conflict, FieldProblem, NotFound
from app.core.facts import Fact, announce
from app.core.ids import new_id
from app.core.notify import notify

CHANNEL = "keys"
"""Where replicas are told that a key was made or revoked."""

EVERY_MODEL = ("*",)
PREFIX_LENGTH = len("sy_") + 8
USE_RESOLUTION = timedelta(minutes=5)
MAX_PATTERNS = 100

_KEY = re.compile(rb"sy_[0-9a-f]{8}_[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,62}[A-Za-z0-9]|[A-Za-z0-9]")
_PATTERN = re.compile(r"[A-Za-z0-9._ *?\[\]!-]{1,128}")
_ACTORS = frozenset({"bootstrap", "local", "worker"})
"""Names under which the service itself appears in the audit trail."""


class ApiKey(Base):
    """A key that was made; a revoked one stays, for the audit trail's sake."""

    __tablename__ = "api_key"
    __table_args__ = (
        Index("uq_api_key_name_unrevoked", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    role: Mapped[Role] = mapped_column(
        Enum(
            Role,
            native_enum=False,
            create_constraint=True,
            length=32,
            name="role",
            values_callable=lambda roles: [role.label for role in roles],
        )
    )
    models: Mapped[list[str]]
    prefix: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    made_at: Mapped[datetime]
    made_by: Mapped[str]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


@dataclass(frozen=True)
class NewKey:
    """A key just made, with the text that nobody sees again."""

    row: ApiKey
    text: str = field(repr=False)


@dataclass(frozen=True)
class KeyFact(Fact):
    """Something that happened to an API key."""

    name: str
    prefix: str

    @property
    def subject(self) -> str:
        """`key:<name>`."""
        return f"key:{self.name}"


@dataclass(frozen=True)
class KeyMade(KeyFact):
    """An API key was made."""

    role: str
    models: list[str]
    expires_at: datetime | None


@dataclass(frozen=True)
class KeyRevoked(KeyFact):
    """An API key was revoked."""


@dataclass(eq=False)
class KeyNotFound(NotFound):
    """There is no such API key, or it is revoked already.

    Keys are addressed by their id, neither by name nor by prefix. None has the id `key_id`, or it was revoked
    before: by itself, or because it was rotated.
    """

    key_id: UUID


@dataclass(eq=False)
class KeyNameTaken(Conflict):
    """An API key of this name is in use.

    The audit trail says by name who did what, so no two keys that are not revoked share one. A key that has
    expired keeps its name until it is revoked.
    """

    name: str

    def detail(self) -> str:
        return f"name: {self.name!r} belongs to a key that was not revoked; revoke or rotate that one, or choose another"


def is_key(credential: bytes) -> bool:
    """Whether this reads like an API key, so that it is worth looking for."""
    return _KEY.fullmatch(credential) is not None


def digest_of(key: bytes) -> bytes:
    """What is kept of a key's text."""
    return hashlib.sha256(key).digest()


async def make_key(
    session: AsyncSession,
    *,
    name: str,
    role: Role,
    models: Sequence[str] = EVERY_MODEL,
    expires_at: datetime | None = None,
) -> NewKey:
    """Make an API key, limited to the models whose names match one of the patterns.

    Raises:
        FieldProblem: the name, a pattern or the time of expiry can't be used.
        KeyNameTaken: a key of this name was not revoked yet.
    """
    _check_name(name)
    _check_patterns(models)
    if expires_at is not None and expires_at <= clock.now():
        raise FieldProblem("expires_at", "has passed already")
    made = await _insert_key(session, name=name, role=role, models=list(models), expires_at=expires_at)
    announce(session, KeyMade(name, made.row.prefix, role.label, made.row.models, expires_at))
    notify(session, CHANNEL)
    return made


async def _insert_key(
    session: AsyncSession, *, name: str, role: Role, models: list[str], expires_at: datetime | None
) -> NewKey:
    prefix = f"sy_{secrets.token_hex(4)}"
    key = f"{prefix}_{secrets.token_hex(32)}"
    statement = (
        insert(ApiKey)
        .values(
            id=new_id(),
            name=name,
            role=role,
            models=models,
            prefix=prefix,
            digest=digest_of(key.encode()),
            made_at=clock.now(),
            made_by=session.info["actor"].name,
            expires_at=expires_at,
        )
        .on_conflict_do_nothing(index_elements=["name"], index_where=text("revoked_at IS NULL"))
    )
    row = await session.scalar(statement.returning(ApiKey))
    if row is None:
        raise KeyNameTaken(name)
    return NewKey(row, key)


async def revoke_key(session: AsyncSession, key_id: UUID) -> ApiKey:
    """Make a key worthless, for good.

    Raises:
        KeyNotFound: no key has this id, or it is revoked already.
    """
    row: ApiKey | None = await session.scalar(
        update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=clock.now())
        .returning(ApiKey)
    )
    if row is None:
        raise KeyNotFound(key_id)
    announce(session, KeyRevoked(row.name, row.prefix))
    notify(session, CHANNEL)
    return row


async def rotate_key(session: AsyncSession, key_id: UUID) -> NewKey:
    """Replace a key by a new one of the same name, role, models and lifetime.

    Raises:
        KeyNotFound: no key has this id, or it is revoked already.
    """
    old = await revoke_key(session, key_id)
    expires_at = old.expires_at and clock.now() + (old.expires_at - old.made_at)
    return await make_key(session, name=old.name, role=old.role, models=old.models, expires_at=expires_at)


def select_keys(after: str | None, limit: int) -> Select[ApiKey]:
    """Keys, newest first, revoked ones included, from the one after `after`."""
    query = select(ApiKey).order_by(ApiKey.id.desc()).limit(limit + 1)
    return query.where(ApiKey.id < UUID(after)) if after else query


async def list_unrevoked_keys(session: AsyncSession) -> Sequence[ApiKey]:
    """Every key that was not revoked; expired ones are among them."""
    return (await session.scalars(select(ApiKey).where(ApiKey.revoked_at.is_(None)))).all()


async def has_admin_key(session: AsyncSession) -> bool:
    """Whether somebody holds a key that opens every door now."""
    live = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > clock.now())
    query = select(ApiKey.id).where(ApiKey.role == Role.ADMIN, ApiKey.revoked_at.is_(None), live)
    return await session.scalar(query.limit(1)) is not None


async def note_uses(session: AsyncSession, key_ids: Sequence[UUID]) -> None:
    """Remember that keys are in use, to the resolution that is worth a write."""
    now = clock.now()
    due = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < now - USE_RESOLUTION)
    await session.execute(update(ApiKey).where(ApiKey.id.in_(key_ids), due).values(last_used_at=now))


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise FieldProblem(
            "name", "1 to 64 letters, digits, '.', '_', '-' or inner spaces, from letter or digit to the same"
        )
    if name.casefold() in _ACTORS:
        raise FieldProblem("name", f"{name!r} is what the service calls itself in the audit trail")


def _check_patterns(models: Sequence[str]) -> None:
    if not 0 < len(models) <= MAX_PATTERNS:
        raise FieldProblem("models", f"1 to {MAX_PATTERNS} patterns; ['*'] stands for every model")
    for pattern in models:
        if not _PATTERN.fullmatch(pattern):
            raise FieldProblem("models", f"{pattern!r} is no pattern of model names, such as 'churn-*'")
