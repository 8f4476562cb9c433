"""A version's files between the artifact store, which knows manifests, and the registry, which keeps rows."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts.manifests import Manifest, ManifestFile
from app.artifacts.store import ArtifactStore
from app.core.locks import hold_until_commit, share_until_commit
from app.registry.errors import FilesCleanedAway
from app.registry.tables import Part, Version, VersionFile

_BLOBS = "blobs"
_ASKED_AT_ONCE = 32


@dataclass(frozen=True)
class StoredFile:
    """One file that is in the store."""

    path: str
    digest: str
    size_bytes: int

    def as_row(self, version_id: UUID, part: Part) -> VersionFile:
        """The row that says whose file it is."""
        return VersionFile(
            version_id=version_id, part=part, path=self.path, digest=self.digest, size_bytes=self.size_bytes
        )


async def keep_blobs(session: AsyncSession, store: ArtifactStore, digests: Iterable[str]) -> None:
    """Keep stored files from clean-up until this transaction, which makes somebody use them, has ended.

    Raises:
        FilesCleanedAway: clean-up took some between their being found in the store and now.
    """
    await share_until_commit(session, _BLOBS)
    wanted = sorted(set(digests))
    for start in range(0, len(wanted), _ASKED_AT_ONCE):
        found = await asyncio.gather(*map(store.exists, wanted[start : start + _ASKED_AT_ONCE]))
        if not all(found):
            raise FilesCleanedAway


async def let_nobody_keep_blobs(session: AsyncSession) -> None:
    """Wait for those who are making use of stored files, and let nobody begin to until this transaction ends."""
    await hold_until_commit(session, _BLOBS)


def files_in(manifest: Manifest) -> tuple[StoredFile, ...]:
    """The files of a manifest."""
    return tuple(StoredFile(file.path, file.sha256, file.size) for file in manifest.files)


def manifest_of(files: Iterable[VersionFile] | Sequence[StoredFile]) -> Manifest:
    """The manifest that rows describe."""
    return Manifest(tuple(sorted(ManifestFile(file.path, file.digest, file.size_bytes) for file in files)))


async def unused_digests(session: AsyncSession, digests: Sequence[str]) -> set[str]:
    """Which of some blobs are neither a file nor the manifest of any version."""
    files = await session.scalars(select(VersionFile.digest).where(VersionFile.digest.in_(digests)))
    living = select(Version.artifact_digest).where(Version.deleted_at.is_(None))
    manifests = await session.scalars(living.where(Version.artifact_digest.in_(digests)))
    return set(digests) - set(files) - set(manifests)
