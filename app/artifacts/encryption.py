"""Blobs at rest under AES-256-GCM, chunk by chunk, so that any size passes through flat memory.

    blob   = header | chunk, chunk, …, last chunk
    header = magic (8) | key id (8) | salt (32) | nonce prefix (7)
    chunk  = AES-256-GCM of at most 64 KiB | tag (16)
    nonce  = nonce prefix (7) | chunk number (4) | 1 for the last chunk, else 0 (1)

This is STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", 2015): the number and the last-chunk mark stand in the nonce, so chunks that are cut off, left
out, swapped or appended do not open. Each blob has a key of its own, derived from the salt (HKDF, RFC 5869), so
random prefixes never have to be unique over the store. The header is authenticated with every chunk.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
CHUNK_BYTES = 64 * 1024
TAG_BYTES = 16
MAGIC = b"SWYDBLB1"
_ID = slice(8, 16)
_SALT = slice(16, 48)
_PREFIX = slice(48, 55)
HEADER_BYTES = 55


class UnknownKeyError(LookupError):
    """The blob was encrypted under a key that is not in the ring; `args[0]` is the key's id."""


class TamperedError(ValueError):
    """The blob does not open: bytes were changed, cut off, moved or added."""


class Keyring:
    """The keys that open blobs; the first of them closes new ones."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = {_key_id(key): key for key in keys}
        self.newest_id = _key_id(keys[0])

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read one raw key of 32 bytes, or one base64 key a line: the newest first, retired ones below it.

        Raises:
            ValueError: the file holds neither.
        """
        content = path.read_bytes()
        keys = [content] if len(content) == KEY_BYTES else [_decoded(line) for line in content.split()]
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"{path} must hold a key of {KEY_BYTES} bytes, raw, or in base64 one key a line")
        return cls(keys)

    def sealer(self) -> "Sealer":
        """What encrypts one new blob under the newest key."""
        header = MAGIC + self.newest_id + os.urandom(HEADER_BYTES - _ID.stop)
        return Sealer(header, self._cipher(header))

    def unsealer(self, header: bytes) -> "Unsealer":
        """What decrypts the blob that has this header.

        Raises:
            UnknownKeyError: it was encrypted under a key that is not here.
        """
        return Unsealer(header, self._cipher(header))

    def holds_key_of(self, header: bytes) -> bool:
        """Whether the blob that has this header can be decrypted here."""
        return header[_ID] in self._keys

    def _cipher(self, header: bytes) -> AESGCM:
        key = self._keys.get(header[_ID])
        if key is None:
            raise UnknownKeyError(header[_ID].hex())
        return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=header[_SALT], info=MAGIC).derive(key))


def is_sealed(start: bytes) -> bool:
    """Whether a blob that begins with these bytes is encrypted."""
    return len(start) >= HEADER_BYTES and start.startswith(MAGIC)


def key_id_of(header: bytes) -> str:
    """The id of the key that a sealed blob needs."""
    return header[_ID].hex()


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"key id" + key).digest()[:8]


def _decoded(line: bytes) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        return b""


class _Chunks:
    """Cuts a stream into numbered chunks, holding the newest back until it is known whether it is the last."""

    def __init__(self, size: int, header: bytes) -> None:
        self._size = size
        self._header = header
        self._waiting = bytearray()
        self._number = 0

    def cut(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The chunks that surely are not the last, each with its nonce."""
        self._waiting += data
        while len(self._waiting) > self._size:
            chunk = bytes(self._waiting[: self._size])
            del self._waiting[: self._size]
            yield self._nonce(last=False), chunk

    def rest(self) -> tuple[bytes, bytes]:
        """The last chunk and its nonce."""
        return self._nonce(last=True), bytes(self._waiting)

    def _nonce(self, *, last: bool) -> bytes:
        nonce = self._header[_PREFIX] + self._number.to_bytes(4) + bytes([last])
        self._number += 1
        return nonce


class Sealer:
    """Encrypts one blob as its bytes come."""

    def __init__(self, header: bytes, cipher: AESGCM) -> None:
        self.header = header
        self._cipher = cipher
        self._chunks = _Chunks(CHUNK_BYTES, header)

    def update(self, data: bytes) -> bytes:
        return b"".join(self._seal(nonce, chunk) for nonce, chunk in self._chunks.cut(data))

    def finish(self) -> bytes:
        return self._seal(*self._chunks.rest())

    def _seal(self, nonce: bytes, chunk: bytes) -> bytes:
        return self._cipher.encrypt(nonce, chunk, self.header)


class Unsealer:
    """Decrypts one blob as its bytes come, after the header; gives out only what was authenticated.

    `update` and `finish` raise `TamperedError`.
    """

    def __init__(self, header: bytes, cipher: AESGCM) -> None:
        self._header = header
        self._cipher = cipher
        self._chunks = _Chunks(CHUNK_BYTES + TAG_BYTES, header)

    def update(self, data: bytes) -> bytes:
        return b"".join(self._open(nonce, chunk) for nonce, chunk in self._chunks.cut(data))

    def finish(self) -> bytes:
        return self._open(*self._chunks.rest())

    def _open(self, nonce: bytes, chunk: bytes) -> bytes:
        try:
            return self._cipher.decrypt(nonce, chunk, self._header)
        except (InvalidTag, ValueError) as error:
            raise TamperedError("a chunk of the blob does not open") from error
