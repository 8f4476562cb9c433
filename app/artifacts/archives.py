"""Archives of model directories, unpacked by our own readers within fixed limits (never by `extractall`)."""

import gzip
import io
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from app.artifacts.errors import UnsafeArchive
from app.artifacts.tarballs import PIECE_BYTES, BrokenArchiveError, Member, Source, read_tar
from app.core.config import GIB, MIB

TARS = (".tar", ".tar.gz", ".tgz")
ZIPS = (".zip",)
MAX_DIRECTORY_BYTES = 4 * MIB  # of a zip's table of contents, which zipfile reads whole
RATIO_COUNTS_FROM_BYTES = 16 * MIB  # small archives of zeros harm nobody
_ENCRYPTED = 0x1  # general purpose bit flag 0 (APPNOTE 6.3.10, section 4.4.4)
_BROKEN = (
    BrokenArchiveError,
    BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    LookupError,
    NotImplementedError,
    OverflowError,
)


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may hold; `ratio` is of unpacked to packed bytes."""

    entries: int = 10_000
    total_bytes: int = 8 * GIB
    ratio: int = 200


class _Meter:
    """Counts what comes out of one archive, and stops a bomb early."""

    def __init__(self, packed_bytes: int, limits: ArchiveLimits) -> None:
        by_ratio = max(packed_bytes * limits.ratio, RATIO_COUNTS_FROM_BYTES)
        self._room_bytes = min(limits.total_bytes, by_ratio)
        self._room_entries = limits.entries

    def count_entry(self) -> None:
        self._room_entries -= 1
        if self._room_entries < 0:
            raise BrokenArchiveError("it has too many entries")

    def count_bytes(self, data: bytes) -> bytes:
        self._room_bytes -= len(data)
        if self._room_bytes < 0:
            raise BrokenArchiveError("it unpacks to more bytes than are allowed")
        return data


class _Metered:
    """A decompressed stream of which every byte is counted, headers and padding too."""

    def __init__(self, source: Source, meter: _Meter) -> None:
        self._source = source
        self._meter = meter

    def read(self, size: int) -> bytes:
        return self._meter.count_bytes(self._source.read(size))


class _CautiousFile(io.FileIO):
    """A file that refuses to be read whole by a parser that believes the sizes it finds."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise BrokenArchiveError("its table of contents is too large")
        return super().read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_SET and offset < 0:
            raise BrokenArchiveError("its table of contents leads out of it")
        return super().seek(offset, whence)


def is_archive(name: str) -> bool:
    """Whether a file's name says that it is an archive of a directory."""
    return name.lower().endswith(TARS + ZIPS)


def is_skops(path: Path) -> bool:
    """Whether a file is a skops model: a zip with `schema.json` at its root, to be kept as it is."""
    try:
        with _CautiousFile(path) as file, ZipFile(file) as archive:
            return "schema.json" in archive.namelist()
    except _BROKEN:
        return False


def read_archive(name: str, path: Path, limits: ArchiveLimits) -> Iterator[Member]:
    """The files in an archive; consume it inside `unsafe_archive_refused`."""
    meter = _Meter(path.stat().st_size, limits)
    members = _zip_members(path, meter) if name.lower().endswith(ZIPS) else _tar_members(path, meter)
    for member in members:
        meter.count_entry()
        entry = _without_dot(member.name)
        if is_archive(entry):
            raise BrokenArchiveError(f"it holds another archive, {entry!r}")
        if not entry.endswith("/"):
            yield Member(entry, member.blocks)


@contextmanager
def unsafe_archive_refused(name: str) -> Iterator[None]:
    """Turn every way in which an archive can be broken or hostile into one refusal.

    Raises:
        UnsafeArchive: reading the archive in this block failed.
    """
    try:
        yield
    except BrokenArchiveError as error:
        raise UnsafeArchive(name, str(error)) from error
    except _BROKEN as error:
        raise UnsafeArchive(name, "it is damaged, or not what its name says") from error


def _without_dot(name: str) -> str:
    """`tar` of `.` writes every name with a leading `./`, and `./` itself."""
    return name.removeprefix("./") or "/"


def _tar_members(path: Path, meter: _Meter) -> Iterator[Member]:
    with path.open("rb") as packed:
        is_plain = packed.read(2) != b"\x1f\x8b"  # RFC 1952, section 2.3.1
        packed.seek(0)
        source = _Metered(packed if is_plain else gzip.GzipFile(fileobj=packed), meter)
        yield from read_tar(source)
        while source.read(PIECE_BYTES):
            pass  # to the end, where gzip checks its sum


def _zip_members(path: Path, meter: _Meter) -> Iterator[Member]:
    with _CautiousFile(path) as file, ZipFile(file) as archive:
        for info in archive.infolist():
            _refuse_special(info)
            yield Member(info.orig_filename, _zip_blocks(archive, info, meter))


def _zip_blocks(archive: ZipFile, info: ZipInfo, meter: _Meter) -> Iterator[bytes]:
    with archive.open(info) as body:
        while piece := body.read(PIECE_BYTES):
            yield meter.count_bytes(piece)


def _refuse_special(info: ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)  # the upper half is the Unix mode, or 0
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise BrokenArchiveError(f"{info.filename!r} is a link or a device")
    if info.flag_bits & _ENCRYPTED:
        raise BrokenArchiveError(f"{info.filename!r} is encrypted")
    if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        raise BrokenArchiveError(f"{info.filename!r} is compressed by a method other than deflate")
