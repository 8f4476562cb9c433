"""A strict tar reader: one pass, flat memory, and only what a model directory needs.

Reads ustar, pax and GNU long names (POSIX.1-2024, pax, "ustar Interchange Format"). Links, devices, sparse files
and everything else that could reach outside the target or grow while it is parsed is refused by its kind.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

BLOCK = 512
PIECE_BYTES = 1024 * 1024
MAX_EXTENSION_BYTES = 64 * 1024
_MAX_LENGTH_DIGITS = 5  # of a record in so short an extension
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a named pipe",
    b"K": "a link",
    b"S": "a sparse file",
}


class Source(Protocol):
    """Bytes from an archive, already decompressed."""

    def read(self, size: int, /) -> bytes: ...


class BrokenArchiveError(ValueError):
    """The archive can't be read, or holds a kind of entry that is refused; `str()` says what."""


class Member(NamedTuple):
    """One file of an archive; its blocks must be read before the next member is asked for."""

    name: str
    blocks: Iterator[bytes]


@dataclass(frozen=True)
class _Header:
    name: str
    size: int
    kind: bytes

    @property
    def is_directory(self) -> bool:
        return self.kind == b"5" or self.name.endswith("/")


def read_tar(source: Source) -> Iterator[Member]:
    """The files of a tar stream, in its order; directories come as names that end in `/`, without bytes.

    Raises:
        BrokenArchiveError: it ends early, is damaged, or holds something that is neither a file nor a directory.
    """
    said: dict[str, str] = {}
    while (header := _next_header(source)) is not None:
        if header.kind in {b"x", b"L"}:
            said |= _extension(source, header)
        elif header.kind == b"g":
            _refuse_sparse_or_renamed(_extension(source, header))
        else:
            yield from _member(source, _amended(header, said))
            said = {}


def _member(source: Source, header: _Header) -> Iterator[Member]:
    if header.kind not in {b"0", b"\0", b"5"}:
        raise BrokenArchiveError(f"{header.name!r} is {_KINDS.get(header.kind, 'of an unknown kind')}")
    blocks = _blocks(source, header.size)
    name = header.name.rstrip("/") + "/" if header.is_directory else header.name
    yield Member(name, iter(()) if header.is_directory else blocks)
    for _unread in blocks:
        pass
    _read_exactly(source, -header.size % BLOCK)


def _next_header(source: Source) -> _Header | None:
    block = _read_exactly(source, BLOCK)
    if not any(block):
        return None
    if _number(block[148:156]) != sum(block[:148]) + 8 * ord(" ") + sum(block[156:]):
        raise BrokenArchiveError("the checksum of an entry is wrong")
    return _Header(_name(block), _number(block[124:136]), block[156:157])


def _name(block: bytes) -> str:
    name = _text(block[:100])
    is_ustar = block[257:263] == b"ustar\0"  # GNU's own magic has other fields where ustar has the prefix
    prefix = _text(block[345:500]) if is_ustar else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    """A name; a short one that a longer one amends may be cut inside a character."""
    return field.split(b"\0", 1)[0].decode(errors="surrogateescape")


def _number(field: bytes) -> int:
    if field[0] == 0x80:  # GNU's binary numbers; 0xFF would be a negative one
        return int.from_bytes(field[1:])
    digits = field.strip(b" \0")
    if not all(digit in b"01234567" for digit in digits):
        raise BrokenArchiveError("a number in an entry's header can't be read")
    return int(digits or b"0", 8)


def _extension(source: Source, header: _Header) -> dict[str, str]:
    if header.size > MAX_EXTENSION_BYTES:
        raise BrokenArchiveError(f"an extension header has {header.size} bytes")
    body = _read_exactly(source, header.size)
    _read_exactly(source, -header.size % BLOCK)
    return {"path": _text(body)} if header.kind == b"L" else dict(_pax_records(body))


def _pax_records(body: bytes) -> Iterator[tuple[str, str]]:
    """Records of the form "length key=value", each with a line end; only those that matter here are decoded."""
    start = 0
    while start < len(body):
        space = body.find(b" ", start, start + _MAX_LENGTH_DIGITS + 1)
        length = body[start : max(space, start)]
        if not length.isdigit() or not len(length) < int(length) <= len(body) - start:
            raise BrokenArchiveError("an extension header can't be read")
        key, _, value = body[space + 1 : start + int(length) - 1].partition(b"=")
        if key in {b"path", b"size"} or key.startswith(b"GNU.sparse"):
            yield key.decode(), value.decode()
        start += int(length)


def _refuse_sparse_or_renamed(said: dict[str, str]) -> None:
    if said:
        raise BrokenArchiveError("a header for all entries changes their names or sizes")


def _amended(header: _Header, said: dict[str, str]) -> _Header:
    if any(key.startswith("GNU.sparse") for key in said):
        raise BrokenArchiveError(f"{header.name!r} is a sparse file")
    size = said.get("size", "")
    return _Header(said.get("path", header.name), int(size) if size.isdecimal() else header.size, header.kind)


def _blocks(source: Source, size: int) -> Iterator[bytes]:
    while size:
        piece = _read_exactly(source, min(size, PIECE_BYTES))
        size -= len(piece)
        yield piece


def _read_exactly(source: Source, size: int) -> bytes:
    data = source.read(size)
    if len(data) != size:
        raise BrokenArchiveError("it ends in the middle")
    return data
