"""Artifacts on this machine's disk, ready to be loaded: fetched once, verified every time."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from app.artifacts.disk import full_disk_refused, require_space, run_to_end
from app.artifacts.errors import BlobNotFound, CorruptArtifact, SignatureMismatch
from app.artifacts.manifests import Manifest, ManifestFile
from app.artifacts.signing import ArtifactSigner, signed_files
from app.artifacts.store import ArtifactStore
from app.artifacts.uploads import open_staging


class ArtifactCache:
    """The local copies of artifacts, one directory each, open to this user only: encrypted ones lie here in plain."""

    def __init__(self, store: ArtifactStore, signer: ArtifactSigner, base_path: Path) -> None:
        self._store = store
        self._signer = signer
        self._base_path = base_path
        self._directory = base_path / "cache" / "artifacts"
        self._running: dict[tuple[str, bytes], asyncio.Task[Path]] = {}
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o700)

    async def materialise(self, manifest: Manifest, signature: bytes) -> Path:
        """The directory with an artifact's files, fetched if need be, and verified in any case before it is given.

        Callers that ask for the same artifact at the same time share one run.

        Raises:
            CorruptArtifact: a file is missing, changed or extra; a bad local copy is dropped, so that the next call
                fetches it again.
            SignatureMismatch: the files are those of the manifest, but the signature is not of them or not by this key.
            ArtifactKeyMissing: they are encrypted under a key that is not here.
            StorageFull, StorageUnavailable: they can't be fetched now.
        """
        work = (manifest.digest, signature)
        if work not in self._running:
            self._running[work] = asyncio.create_task(self._fetch_and_verify(manifest, signature))
            self._running[work].add_done_callback(lambda _: self._running.pop(work))
        return await asyncio.shield(self._running[work])

    def discard(self, digest: str) -> None:
        """Drop the local copy of an artifact; one that is not there is gone already."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._directory / digest)

    async def _fetch_and_verify(self, manifest: Manifest, signature: bytes) -> Path:
        target = self._directory / manifest.digest
        if not target.is_dir():
            await self._fetch(manifest, target)
        try:
            await asyncio.to_thread(self._verify, target, manifest, signature)
        except CorruptArtifact:
            await run_to_end(self.discard, manifest.digest)
            raise
        return target

    async def _fetch(self, manifest: Manifest, target: Path) -> None:
        """Fill a private directory, then rename it: other processes see the whole artifact or none of it."""
        with full_disk_refused():
            require_space(self._directory, manifest.size_bytes)
            async with open_staging(self._base_path) as staging:
                for file in manifest.files:
                    await self._fetch_file(file, staging.files_directory / file.path)
                with suppress(
                    FileExistsError
                ):  # another process was faster; its copy is verified like our own
                    _rename_directory(staging.files_directory, target)

    async def _fetch_file(self, file: ManifestFile, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("wb") as copy:
                async for block in self._store.stream_unverified(file.sha256):
                    await run_to_end(copy.write, block)
        except (BlobNotFound, CorruptArtifact) as error:
            raise CorruptArtifact(file.path, file.sha256, None) from error

    def _verify(self, directory: Path, manifest: Manifest, signature: bytes) -> None:
        """One pass over the bytes when all is well: the signature names every file and its digest, as the manifest."""
        try:
            self._signer.verify_directory(directory, signature)
        except SignatureMismatch as error:
            raise next(_damages(directory, manifest), error) from error
        if signed_files(signature) != manifest.digests:
            raise SignatureMismatch("it was made for other files")


def _damages(directory: Path, manifest: Manifest) -> Iterator[CorruptArtifact]:
    """Where a directory differs from its manifest."""
    for file in manifest.files:
        found = _sha256_of(directory / file.path)
        if found != file.sha256:
            yield CorruptArtifact(file.path, file.sha256, found)
    present = (each.relative_to(directory).as_posix() for each in directory.rglob("*") if not each.is_dir())
    yield from (
        CorruptArtifact(path, None, _sha256_of(directory / path))
        for path in present
        if path not in manifest.digests
    )


def _sha256_of(path: Path) -> str | None:
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rename_directory(source: Path, target: Path) -> None:
    """Rename, and say "exists" where rename(2) may also say "not empty"."""
    try:
        os.rename(source, target)  # noqa: PTH104
    except OSError as error:
        if target.is_dir():
            raise FileExistsError(target) from error
        raise
