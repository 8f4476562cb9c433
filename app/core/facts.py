"""Facts: what changed, by whom, in the same transaction; chained by hashes so that tampering shows.

A fact is announced unsealed. A background sealer (one at a time, by an advisory lock) numbers committed
facts, links each to the one before by SHA-256 and starts the reactions to it, all in one transaction. So
announcing costs one insert, the order is one for all replicas, and each reaction is started exactly once.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from pydantic_core import to_jsonable_python
from sqlalchemy import (
    CheckConstraint,
    Index,
    LargeBinary,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core import clock
from app.core.database import Actor, Base, Reading, before_commit
from app.core.ids import new_id
from app.core.jobs import enqueue_each
from app.core.locks import try_hold_until_commit
from app.core.notify import notify
from app.core.prepared import PreparedInsert, PreparedRead, PreparedWrite

GENESIS = bytes(32)
CHANNEL = "facts"
SEAL_BATCH = 500
READ_BATCH = 250  # read between two turns of the event loop: 30 ms
APPEND_ONLY = (
    """
    CREATE FUNCTION refuse_change_of_fact() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND OLD.sequence IS NULL AND NEW.sequence IS NOT NULL AND
           (NEW.id, NEW.kind, NEW.subject, NEW.actor, NEW.role, NEW.request_id, NEW.at, NEW.body)
           IS NOT DISTINCT FROM
           (OLD.id, OLD.kind, OLD.subject, OLD.actor, OLD.role, OLD.request_id, OLD.at, OLD.body)
        THEN RETURN NEW;
        END IF;
        RAISE EXCEPTION 'facts are sealed once and never change';
    END $$
    """,
    """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON fact
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_fact()
    """,
)
"""A fact may be sealed; nothing else may happen to it. The migration that makes the table executes this."""


@dataclass(frozen=True)
class Fact:
    """Something that has happened. Rooms declare theirs as frozen dataclasses in the past tense."""

    subject_kind: ClassVar[str] = "service"

    @property
    def subject(self) -> str:
        """What it happened to, as people would name it."""
        return self.subject_kind


class FactRow(Base):
    """One fact as stored; `sequence` and `hash` are set once, by the sealer."""

    __tablename__ = "fact"
    __table_args__ = (
        Index("ix_fact_unsealed", "id", postgresql_where=text("sequence IS NULL")),
        Index("ix_fact_subject", "subject", "sequence"),
        Index("ix_fact_kind", "kind", "sequence"),
        Index("ix_fact_actor", "actor", "sequence"),
        CheckConstraint("(sequence IS NULL) = (hash IS NULL)", name="sealed_whole"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]
    subject: Mapped[str]
    actor: Mapped[str]
    role: Mapped[str]
    request_id: Mapped[str | None]
    at: Mapped[datetime]
    body: Mapped[dict[str, Any]]
    sequence: Mapped[int | None] = mapped_column(unique=True)
    hash: Mapped[bytes | None] = mapped_column(LargeBinary)


_ANNOUNCED = "announced"
_ADD = PreparedInsert(FactRow)
_FACT = FactRow.__table__
_NAMES = [column.key for column in _FACT.columns]
_UNSEALED = PreparedRead(
    select(_FACT)
    .where(_FACT.c.sequence.is_(None))
    .order_by(_FACT.c.id)
    .limit(literal_column(str(SEAL_BATCH)))
)
_SEAL = PreparedWrite(
    update(FactRow)
    .where(_FACT.c.id == bindparam("fact"))
    .values(sequence=bindparam("number"), hash=bindparam("seal"))
)


@dataclass(frozen=True)
class Verdict:
    """Whether the chain of facts is whole, and if not, where and how it breaks."""

    intact: bool
    facts: int
    unsealed: int
    head: str
    broken_at: int | None = None
    problem: str | None = None


def announce(session: AsyncSession, fact: Fact) -> None:
    """Record a fact in this transaction, in the name of the session's actor."""
    actor: Actor = session.info["actor"]
    row = {
        "id": new_id(),
        "kind": type(fact).__name__,
        "subject": fact.subject,
        "actor": actor.name,
        "role": actor.role,
        "request_id": actor.request_id,
        "at": clock.now(),
        "body": to_jsonable_python(fact),
    }
    session.info.setdefault(_ANNOUNCED, []).append(row)
    before_commit(session, _write_announced)


async def _write_announced(session: AsyncSession) -> None:
    await _ADD.run(session, *session.info.pop(_ANNOUNCED))


def sealed_form(fact: FactRow) -> dict[str, Any]:
    """All of a fact that its hash covers, as the export gives it."""
    return {
        "sequence": fact.sequence, "id": str(fact.id), "kind": fact.kind, "subject": fact.subject, "actor": fact.actor,
        "role": fact.role, "request_id": fact.request_id, "at": fact.at.astimezone(UTC).isoformat(), "body": fact.body,
    }  # fmt: skip


def link(previous: bytes, fact: FactRow) -> bytes:
    """The hash that seals a fact to the one before it.

    It is taken over what Python's own `json` makes of the fact, so that a check needs nothing of this service.
    """
    content = json.dumps(sealed_form(fact), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(previous + content.encode()).digest()


async def seal_facts(session: AsyncSession, reactions: Mapping[str, Sequence[str]]) -> int:
    """Number and chain the committed facts that are not sealed yet, and start what follows from each.

    `reactions` gives the job kinds that follow from a fact's kind. Returns how many facts were sealed.
    """
    if not await try_hold_until_commit(session, "seal facts"):
        return 0
    facts = [FactRow(**dict(zip(_NAMES, row, strict=True))) for row in await _UNSEALED.rows(session)]
    if not facts:
        return 0
    sequence, previous = await read_head(session)
    for fact in facts:
        sequence += 1
        fact.sequence = sequence
        fact.hash = previous = link(previous, fact)
    await enqueue_each(
        session,
        [
            (reaction, {"fact_id": str(fact.id)}, f"{reaction}:{fact.id}")
            for fact in facts
            for reaction in reactions.get(fact.kind, ())
        ],
    )
    seals = [{"fact": fact.id, "number": fact.sequence, "seal": fact.hash} for fact in facts]
    await _SEAL.run(session, *seals)
    notify(session, CHANNEL, str(sequence))
    return len(facts)


async def read_head(session: AsyncSession) -> tuple[int, bytes]:
    """The number and the hash of the newest sealed fact; of an empty chain 0 and `GENESIS`."""
    last = select(FactRow.sequence, FactRow.hash).where(FactRow.sequence.is_not(None))
    row = (await session.execute(last.order_by(FactRow.sequence.desc()).limit(1))).one_or_none()
    return (row[0] or 0, row[1] or GENESIS) if row else (0, GENESIS)


async def verify_facts(session: Reading, *, checkpoint: tuple[int, str] | None = None) -> Verdict:
    """Recompute the whole chain; a checkpoint noted earlier also shows a tail that was cut off."""
    previous, expected, noted = GENESIS, 1, checkpoint
    async for fact in list_sealed(session):
        if fact.sequence != expected:
            return await _broken(session, expected, f"fact {expected} is missing")
        if link(previous, fact) != fact.hash:
            return await _broken(
                session, expected, f"fact {expected} or its place was changed after it was sealed"
            )
        assert fact.hash is not None
        previous = fact.hash
        if noted and noted[0] == expected and previous.hex() != noted[1]:
            return await _broken(session, expected, "the chain was rewritten since the checkpoint")
        expected += 1
    if noted and noted[0] >= expected:
        return await _broken(
            session, expected, f"the chain ends before the checkpoint at {noted[0]}: its tail was cut off"
        )
    return Verdict(True, expected - 1, await _count_unsealed(session), previous.hex())


async def list_sealed(session: Reading) -> AsyncIterator[FactRow]:
    """Every sealed fact in the order of the chain, read page by page."""
    last = 0
    while True:
        page = select(FactRow).where(FactRow.sequence > last).order_by(FactRow.sequence).limit(READ_BATCH)
        facts = (await session.scalars(page)).all()
        for fact in facts:
            yield fact
            session.expunge(fact)
        if not facts:
            return
        last = facts[-1].sequence or last


async def _broken(session: Reading, sequence: int, problem: str) -> Verdict:
    head = await read_head(session)
    return Verdict(False, head[0], await _count_unsealed(session), head[1].hex(), sequence, problem)


async def _count_unsealed(session: Reading) -> int:
    return await session.scalar(select(func.count()).where(FactRow.sequence.is_(None))) or 0


def select_facts(
    *,
    kind: str | None = None,
    subject: str | None = None,
    actor: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Select[FactRow]:
    """Facts, newest first, that match every filter given; a subject also matches what lies under it."""
    query = select(FactRow).order_by(FactRow.id.desc())
    if kind:
        query = query.where(FactRow.kind == kind)
    if subject:
        query = query.where(
            (FactRow.subject == subject) | FactRow.subject.startswith(f"{subject}:", autoescape=True)
        )
    if actor:
        query = query.where(FactRow.actor == actor)
    if since:
        query = query.where(FactRow.at >= since)
    if until:
        query = query.where(FactRow.at < until)
    return query


async def get_fact(session: AsyncSession, fact_id: UUID) -> FactRow:
    """The fact that a reaction was started by."""
    return await session.get_one(FactRow, fact_id)
