"""The artifact store: every file once, under its SHA-256, on local disk or in an object store, never changed."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore

from app.artifacts.buckets import open_bucket
from app.artifacts.disk import FULL, require_space, sync_to_disk
from app.artifacts.encryption import (
    HEADER_BYTES,
    Keyring,
    Sealer,
    TamperedError,
    UnknownKeyError,
    Unsealer,
    is_sealed,
    key_id_of,
)
from app.artifacts.errors import (
    ArtifactKeyMissing,
    BlobNotFound,
    CorruptArtifact,
    StorageFull,
    StorageUnavailable,
)
from app.core.config import MIB, Settings

BLOCK_BYTES = MIB
WHOLE_BYTES = 8 * MIB  # sent in one conditional request; obstore holds such a body in memory
PARTS_AT_ONCE = 4
ABANDONED_AFTER = timedelta(days=1)
_LIST_PAGE = 1000
# How Rust prints an errno, which is the only way in which obstore tells it.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


class ArtifactStore:
    """Immutable blobs by digest. With a keyring new blobs are encrypted; the digest is that of the plain bytes."""

    def __init__(
        self, backend: ObjectStore, *, keyring: Keyring | None = None, root: Path | None = None
    ) -> None:
        self._backend = backend
        self._keyring = keyring
        self._root = root  # of a store on local disk

    async def put_file(self, path: Path, digest: str) -> None:
        """Keep the bytes of a file whose SHA-256 is `digest`; of known bytes nothing is written.

        Raises:
            StorageFull: no room; nothing of the blob is left behind.
            StorageUnavailable: the store can't be reached.
        """
        if not await self.exists(digest):
            size = path.stat().st_size
            self._require_space(size)
            await self._put_new(digest, _read_blocks(path), size)

    async def put_bytes(self, body: bytes) -> str:
        """Keep a few bytes and give their SHA-256; raises as `put_file` does."""
        digest = hashlib.sha256(body).hexdigest()
        if not await self.exists(digest):
            await self._put_new(digest, _only(body), len(body))
        return digest

    async def open_stream(self, digest: str) -> AsyncIterator[bytes]:
        """The plain bytes of a blob in blocks; the last one comes only after all of them match the digest.

        Raises:
            BlobNotFound: there is no such blob.
            CorruptArtifact: its bytes are not those that were stored.
            ArtifactKeyMissing: it is encrypted under a key that is not here.
            StorageUnavailable: the store can't be reached.
        """
        found = hashlib.sha256()
        waiting = b""
        async for block in self.stream_unverified(digest):
            await asyncio.to_thread(found.update, block)
            if waiting:
                yield waiting
            waiting = block
        if found.hexdigest() != digest:
            raise CorruptArtifact(digest, digest, found.hexdigest())
        yield waiting

    async def stream_unverified(self, digest: str) -> AsyncIterator[bytes]:
        """As `open_stream`, for a caller that verifies the whole itself: hashing is what costs."""
        blocks = self._stored_blocks(digest)
        first = await anext(blocks, b"")
        if not is_sealed(first):
            yield first
            async for block in blocks:
                yield block
            return
        unsealer = self._unsealer(first[:HEADER_BYTES])
        with _tampering_refused(digest):
            yield await asyncio.to_thread(unsealer.update, first[HEADER_BYTES:])
            async for block in blocks:
                yield await asyncio.to_thread(unsealer.update, block)
            yield unsealer.finish()

    async def exists(self, digest: str) -> bool:
        with _trouble_refused():
            try:
                await obstore.head_async(self._backend, _key(digest))
            except FileNotFoundError:
                return False
            return True

    async def delete(self, digest: str) -> None:
        """Remove a blob; one that is not there is gone already."""
        with _trouble_refused(), suppress(FileNotFoundError):
            await obstore.delete_async(self._backend, _key(digest))

    async def list_digests(self, *, stored_before: datetime | None = None) -> AsyncIterator[str]:
        """The digest of every blob, or of those that are older than a moment."""
        with _trouble_refused():
            async for page in obstore.list(self._backend, prefix="blobs", chunk_size=_LIST_PAGE):
                for found in page:
                    if stored_before is None or found["last_modified"] < stored_before:
                        yield found["path"].rsplit("/", 1)[-1]

    def sweep_partial_writes(self, now: datetime) -> int:
        """Remove drafts that a killed process left beside the blobs of a local store; gives their count."""
        drafts = self._root.glob("blobs/*/*#*") if self._root else ()
        abandoned = [
            each
            for each in drafts
            if now.timestamp() - each.stat().st_mtime > ABANDONED_AFTER.total_seconds()
        ]
        for draft in abandoned:
            draft.unlink(missing_ok=True)
        return len(abandoned)

    async def _put_new(self, digest: str, blocks: AsyncIterator[bytes], size: int) -> None:
        if self._keyring is not None:
            blocks = _sealed(blocks, self._keyring.sealer())
        with _trouble_refused():
            if size <= WHOLE_BYTES:
                await self._put_whole(digest, b"".join([block async for block in blocks]))
            else:  # in parts, which can't be conditional: two writers at once replace a blob by the same blob
                await obstore.put_async(self._backend, _key(digest), blocks, max_concurrency=PARTS_AT_ONCE)
            if self._root is not None:
                await asyncio.to_thread(sync_to_disk, self._root / _key(digest))

    async def _put_whole(self, digest: str, body: bytes) -> None:
        with suppress(AlreadyExistsError):
            await obstore.put_async(self._backend, _key(digest), body, mode="create")

    async def _stored_blocks(self, digest: str) -> AsyncIterator[bytes]:
        with _trouble_refused():
            try:
                answer = await obstore.get_async(self._backend, _key(digest))
            except FileNotFoundError:
                raise BlobNotFound(digest) from None
            async for block in answer.stream(min_chunk_size=BLOCK_BYTES):
                yield bytes(block)

    def _unsealer(self, header: bytes) -> Unsealer:
        if self._keyring is None:
            raise ArtifactKeyMissing(key_id_of(header))
        try:
            return self._keyring.unsealer(header)
        except UnknownKeyError as error:
            raise ArtifactKeyMissing(key_id_of(header)) from error

    def _require_space(self, size: int) -> None:
        if self._root is not None:
            require_space(self._root, size)


def open_artifact_store(settings: Settings) -> ArtifactStore:
    """The store that the settings name: a directory, or `s3://`, `gs://`, `az://`.

    Raises:
        ValueError: the address, its options or the key file can't be used; the message says which.
    """
    key_file = settings.artifact_encryption_key_file
    keyring = Keyring.from_file(key_file) if key_file else None
    address = settings.artifact_url.removeprefix("file://")
    if "://" in address:
        return ArtifactStore(open_bucket(address, settings.artifact_options), keyring=keyring)
    root = Path(address).expanduser().resolve()
    root.mkdir(parents=True, exist_ok=True)
    return ArtifactStore(LocalStore(root), keyring=keyring, root=root)


def _key(digest: str) -> str:
    return f"blobs/{digest[:2]}/{digest}"


async def _read_blocks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while block := await asyncio.to_thread(file.read, BLOCK_BYTES):
            yield block


async def _only(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _sealed(blocks: AsyncIterator[bytes], sealer: Sealer) -> AsyncIterator[bytes]:
    yield sealer.header
    async for block in blocks:
        yield await asyncio.to_thread(sealer.update, block)
    yield sealer.finish()


@contextmanager
def _trouble_refused() -> Iterator[None]:
    """Turn what the store's client raises into this room's refusals."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise (StorageFull if _errno_of(error) in FULL else StorageUnavailable) from error


def _errno_of(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    told = _OS_ERROR.search(str(error))
    return int(told[1]) if told else None


@contextmanager
def _tampering_refused(digest: str) -> Iterator[None]:
    try:
        yield
    except TamperedError as error:
        raise CorruptArtifact(digest, digest, None) from error
