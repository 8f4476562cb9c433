"""What an artifact consists of: its files with their digests, in one canonical form whose digest names it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Self

from pydantic import TypeAdapter

from app.artifacts.errors import CorruptArtifact
from app.artifacts.filenames import NamesInUse
from app.artifacts.store import ArtifactStore
from app.artifacts.uploads import StagedFile


@dataclass(frozen=True, order=True)
class ManifestFile:
    """One file of an artifact."""

    path: str
    sha256: str
    size: int


_FILES = TypeAdapter(tuple[ManifestFile, ...])


@dataclass(frozen=True)
class Manifest:
    """The files of an artifact, sorted by path."""

    files: tuple[ManifestFile, ...]

    @classmethod
    def of(cls, staged: Iterable[StagedFile]) -> Self:
        return cls(tuple(sorted(ManifestFile(each.name, each.sha256, each.size) for each in staged)))

    @classmethod
    def of_bytes(cls, files: Iterable[tuple[str, bytes]]) -> Self:
        """That of files in memory, under these names.

        Raises:
            UnsafeFileName, FileNameTaken: a name can't be kept beside the others.
        """
        names, hashed = NamesInUse(), []
        for name, body in files:
            names.claim(name)
            hashed.append(ManifestFile(name, hashlib.sha256(body).hexdigest(), len(body)))
        return cls(tuple(sorted(hashed)))

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Read a manifest back.

        Raises:
            ValueError: these are not the bytes of a manifest.
            UnsafeFileName, FileNameTaken: it names a file that could not have been uploaded.
        """
        manifest = cls(_FILES.validate_json(body, strict=True))
        names = NamesInUse()
        for file in manifest.files:
            names.claim(file.path)
        return manifest

    @cached_property
    def digest(self) -> str:
        """The artifact's identity: the SHA-256 of its canonical form."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @cached_property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of every file, by path."""
        return {file.path: file.sha256 for file in self.files}

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)

    def to_bytes(self) -> bytes:
        """The canonical form: a JSON list by path, keys sorted, no spaces, UTF-8 (in the manner of RFC 8785)."""
        files = [asdict(file) for file in self.files]
        return json.dumps(files, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


async def store_artifact(store: ArtifactStore, staged: Iterable[StagedFile]) -> Manifest:
    """Keep every staged file and the manifest of them, the manifest last.

    Raises:
        StorageFull: no room; blobs that were whole before that stay for a later sweep.
        StorageUnavailable: the store can't be reached.
    """
    files = list(staged)
    for file in files:
        await store.put_file(file.path, file.sha256)
    manifest = Manifest.of(files)
    await store.put_bytes(manifest.to_bytes())
    return manifest


async def load_manifest(store: ArtifactStore, digest: str) -> Manifest:
    """The manifest of a stored artifact.

    Raises:
        BlobNotFound: no artifact has this digest.
        CorruptArtifact: the stored manifest is not the one that was stored.
    """
    body = b"".join([block async for block in store.open_stream(digest)])
    try:
        manifest = Manifest.from_bytes(body)
    except ValueError as error:
        raise CorruptArtifact("manifest", digest, None) from error
    if manifest.digest != digest:
        raise CorruptArtifact("manifest", digest, manifest.digest)
    return manifest
