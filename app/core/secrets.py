"""The service's own random keys: made at the first start, the same for every replica."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from secrets import token_bytes

from sqlalchemy import LargeBinary, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from app.core import clock
from app.core.database import Actor, Base, Database

SECRET_BYTES = 32
_STARTER = Actor("bootstrap", "system")


class SecretRow(Base):
    """A random key, by what it is for."""

    __tablename__ = "secret"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)
    made_at: Mapped[datetime]


@dataclass(frozen=True)
class Secrets:
    """What this service signs with; each field is one key of its own."""

    cursors: bytes = field(repr=False)
    sessions: bytes = field(repr=False)


async def load_secrets(database: Database) -> Secrets:
    """The service's keys; what is missing is made, and of several replicas that make it the first one wins."""
    names = [each.name for each in fields(Secrets)]
    made_at = clock.now()
    fresh = [{"name": name, "value": token_bytes(SECRET_BYTES), "made_at": made_at} for name in sorted(names)]
    async with database.writes(_STARTER) as session:
        await session.execute(insert(SecretRow).values(fresh).on_conflict_do_nothing())
        rows = await session.scalars(select(SecretRow).where(SecretRow.name.in_(names)))
        return Secrets(**{row.name: row.value for row in rows})
