"""A version's files between the artifact store, which knows manifests, and the registry, which keeps rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.artifacts.manifests import Manifest, ManifestFile
from app.registry.tables import Part, VersionFile


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


def files_in(manifest: Manifest) -> tuple[StoredFile, ...]:
    """The files of a manifest."""
    return tuple(StoredFile(file.path, file.sha256, file.size) for file in manifest.files)


def manifest_of(files: Iterable[VersionFile] | Sequence[StoredFile]) -> Manifest:
    """The manifest that rows describe."""
    return Manifest(tuple(sorted(ManifestFile(file.path, file.digest, file.size_bytes) for file in files)))
