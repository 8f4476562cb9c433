"""`Idempotency-Key`: the answer to a change is kept in the change's own transaction and given again.

After draft-ietf-httpapi-idempotency-key-header: the same key with another request is 422, while the first
is still under way 409; a repeated answer is marked by a header.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import LargeBinary, delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from starlette.responses import Response

from app.core import clock
from app.core.database import Base
from app.core.errors import Conflict, Invalid, Malformed
from app.core.locks import try_hold_until_commit

KEPT = timedelta(hours=48)
HEADER, REPLAYED = "Idempotency-Key", "Idempotency-Replayed"
LONGEST_KEY = 255


class ReceiptRow(Base):
    """The answer that was given under a key."""

    __tablename__ = "receipt"

    caller: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int]
    content_type: Mapped[str | None]
    location: Mapped[str | None]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    made_at: Mapped[datetime]


@dataclass(eq=False)
class KeyUsedDifferently(Invalid):
    """The idempotency key was used for another request.

    An idempotency key stands for one request of its caller, by method, address and body, for 48 hours. It
    came again with a request that differs in one of these, and which of the two is meant can't be told;
    nothing was changed.
    """

    key: str

    def detail(self) -> str:
        return f"Idempotency-Key: {self.key!r} was sent before with a different request; use a new key for a new request"


@dataclass(eq=False)
class FirstStillRunning(Conflict):
    """The first request with this idempotency key is still under way.

    Two requests came with the same key, and the first of them is not answered yet. To do its work twice is
    what the key is there to prevent, so this one changed nothing.
    """

    key: str

    def detail(self) -> str:
        return f"Idempotency-Key: the first request with {self.key!r} is still being worked on; ask again in a moment"


class UnusableKey(Malformed):
    """The idempotency key can't be used.

    The header `Idempotency-Key` is there, but it is empty, has more than 255 characters, or has some that are
    not printable ASCII. Nothing was changed.
    """

    def detail(self) -> str:
        return f"Idempotency-Key: 1 to {LONGEST_KEY} printable ASCII characters, a UUID for example"


class Replayed(Exception):  # noqa: N818 - carries an answer, not an error
    """This request was answered before."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True)
class Receipt:
    """One caller's key, to be claimed before the change and filled in with its answer."""

    caller: str
    key: str

    @classmethod
    def read(cls, caller: str, key: str) -> "Receipt":
        """The receipt that a header names.

        Raises:
            UnusableKey: empty, too long, or not printable.
        """
        if not key.isascii() or not key.isprintable() or not 0 < len(key) <= LONGEST_KEY:
            raise UnusableKey
        return cls(caller, key)

    async def claim(self, session: AsyncSession, fingerprint: bytes) -> None:
        """Make sure that this request is the first of its key.

        Raises:
            FirstStillRunning: another transaction holds the key.
            KeyUsedDifferently: the key belongs to another request.
            Replayed: it was answered already; carries the answer.
        """
        if not await try_hold_until_commit(session, f"receipt:{self.caller}:{self.key}"):
            raise FirstStillRunning(self.key)
        await self.require_unused(session, fingerprint)

    async def require_unused(self, session: AsyncSession, fingerprint: bytes) -> None:
        """Look whether the key was used before, without claiming it.

        Raises:
            KeyUsedDifferently: the key belongs to another request.
            Replayed: it was answered already; carries the answer.
        """
        row = await session.get(ReceiptRow, (self.caller, self.key))
        if row is None or row.made_at < clock.now() - KEPT:
            return
        if row.fingerprint != fingerprint:
            raise KeyUsedDifferently(self.key)
        raise Replayed(_restore(row))

    async def fill(self, session: AsyncSession, fingerprint: bytes, answer: Response) -> None:
        """Keep the answer, in the transaction of the change that it is about."""
        await session.merge(
            ReceiptRow(
                caller=self.caller,
                key=self.key,
                fingerprint=fingerprint,
                status=answer.status_code,
                content_type=answer.media_type or answer.headers.get("content-type"),
                location=answer.headers.get("location"),
                body=bytes(answer.body),
                made_at=clock.now(),
            )
        )


def _restore(row: ReceiptRow) -> Response:
    headers = {REPLAYED: "true"} | ({"Location": row.location} if row.location else {})
    return Response(row.body, row.status, headers, row.content_type)


def fingerprint_of(method: str, path: str, *parts: bytes) -> bytes:
    """What makes two requests the same one."""
    return hashlib.sha256(b"\0".join([method.encode(), path.encode(), *parts])).digest()


async def drop_old_receipts(session: AsyncSession) -> None:
    """Forget answers that nobody may ask for again."""
    await session.execute(delete(ReceiptRow).where(ReceiptRow.made_at < clock.now() - KEPT))
