"""What the first load of bytes found, for as long as a version keeps it: the same bytes need no second one.

Only what follows from the bytes is found again. What a sample showed, or somebody said of a model, belongs to the
version that it came with: others may not even be allowed to see it.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, literal_column, select

from app.core.database import Database
from app.core.prepared import PreparedRead
from app.registry.conversion import NOT_CONVERTED
from app.registry.files import StoredFile
from app.registry.tables import Part, Version, VersionFile

BYTES_TELL = "bytes_tell"
"""Where a version's probe keeps what a load told that was given nothing but the bytes; only such are found again."""
CONVERTIBLE = frozenset({"skops", "joblib"})


@dataclass(frozen=True)
class Found:
    """What is known of an artifact once it was loaded, and its signature."""

    format: str
    framework: str
    algorithm: str | None
    signature: dict[str, Any]
    parameters: dict[str, Any]
    requirements: list[str]
    latency_ms: float | None
    memory_bytes: int | None
    probe: dict[str, Any]
    artifact_signature: bytes
    serving_signature: bytes | None = None
    serving_files: tuple[StoredFile, ...] = ()

    @property
    def told_by_bytes(self) -> dict[str, Any]:
        """What callers may say otherwise of their versions, as the bytes tell it."""
        return {
            name: getattr(self, name) for name in ("framework", "algorithm", "parameters", "requirements")
        }

    @property
    def is_unjudged(self) -> bool:
        """Whether nobody looked yet if it is better served in another form."""
        return self.format in CONVERTIBLE and not self.serving_files and NOT_CONVERTED not in self.probe


async def recall_artifact(database: Database, digest: str) -> Found | None:
    """What was found in these bytes alone if a version, of whatever model, has them."""
    row = await _KNOWN.row(database, digest=digest)
    if row is None:
        return None
    version_id, *values = row
    known = dict(zip(_KEPT, values, strict=True))
    known |= known["probe"][BYTES_TELL]
    if known["serving_signature"] is None:
        return Found(**known)
    served = await _SERVED.rows(database, version=version_id)
    return Found(**known, serving_files=tuple(StoredFile(*file) for file in served))


_V, _F = Version.__table__.c, VersionFile.__table__.c
_KEPT = [name for name in Found.__dataclass_fields__ if name != "serving_files"]
_KNOWN = PreparedRead(
    select(_V.id, *(_V[name] for name in _KEPT))
    .where(_V.artifact_digest == bindparam("digest"), _V.deleted_at.is_(None), _V.probe.has_key(BYTES_TELL))
    .limit(literal_column("1"))
)
_SERVED = PreparedRead(
    select(_F.path, _F.digest, _F.size_bytes)
    .where(_F.version_id == bindparam("version"), _F.part == Part.SERVING)
    .order_by(_F.path)
)
