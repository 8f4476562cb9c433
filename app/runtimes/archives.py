"""Zip archives of unknown origin: refused before anything is unpacked when they could do harm."""

import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from app.core.errors import Refusal
from app.runtimes.errors import BrokenArtifact, UnsafeArtifact

MAX_ENTRIES = 50_000  # a forest of 10,000 trees stores four arrays for each
MAX_UNPACKED_BYTES = 16 * 1024**3  # twice the largest upload: a forest's arrays deflate to a fifth
MAX_RATIO = 200  # deflate reaches 1032:1 on zeros; fitted arrays stay below 50:1
SMALL_BYTES = 64 * 1024**2  # below this a high ratio harms nobody
_ENCRYPTED = 0x1  # general purpose bit 0 (APPNOTE.TXT 4.4.4)
_ARCHIVES = (".zip", ".npz", ".tar", ".gz", ".bz2", ".xz", ".7z", ".jar")


@contextmanager
def open_archive(path: Path) -> Iterator[ZipFile]:
    """An archive to read from; its entries must have passed `entries_of` before.

    Raises:
        BrokenArtifact: it is no zip archive, or what was read of it is damaged.
    """
    try:
        with ZipFile(path) as archive:
            yield archive
    except (Refusal, MemoryError):
        raise
    except Exception as error:  # zipfile and the decompressors raise whatever damaged bytes lead to
        reason = f": {error}"[:200] if isinstance(error, BadZipFile) else ""
        raise BrokenArtifact(f"{path.name} is a damaged zip archive{reason}") from error


def entries_of(path: Path) -> list[ZipInfo]:
    """The entries of an archive that is fit to be read.

    Raises:
        BrokenArtifact: it is no zip archive, or a damaged one.
        UnsafeArtifact: it is a bomb, or holds links, archives, or names that lead elsewhere or twice to one place.
    """
    with open_archive(path) as archive:
        entries = archive.infolist()
    _check_amount(entries, path.stat().st_size)
    _check_names(entries)
    for entry in entries:
        _check_kind(entry)
    return entries


def _check_amount(entries: list[ZipInfo], packed_bytes: int) -> None:
    if len(entries) > MAX_ENTRIES:
        raise UnsafeArtifact(f"the archive has {len(entries):,} entries, the limit is {MAX_ENTRIES:,}")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED_BYTES:
        raise UnsafeArtifact(
            f"the archive unpacks to {unpacked:,} bytes, the limit is {MAX_UNPACKED_BYTES:,}"
        )
    if unpacked > SMALL_BYTES and unpacked > MAX_RATIO * packed_bytes:
        raise UnsafeArtifact(f"the archive unpacks to {unpacked / packed_bytes:.0f} times its size")
    if sum(entry.compress_size for entry in entries) > packed_bytes:
        raise UnsafeArtifact("entries of the archive share their bytes")


def _check_names(entries: list[ZipInfo]) -> None:
    names = Counter(unicodedata.normalize("NFC", entry.filename).casefold() for entry in entries)
    name, times = names.most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise UnsafeArtifact(f"the archive holds {name[:80]!r} {times} times")


def _check_kind(entry: ZipInfo) -> None:
    name, mode = entry.filename, entry.external_attr >> 16
    if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
        raise UnsafeArtifact(f"the entry {name[:80]!r} leads outside the archive")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UnsafeArtifact(f"the entry {name[:80]!r} is a link or a device")
    if name.casefold().endswith(_ARCHIVES):
        raise UnsafeArtifact(f"the entry {name[:80]!r} is an archive inside the archive")
    if entry.flag_bits & _ENCRYPTED:
        raise UnsafeArtifact(f"the entry {name[:80]!r} is encrypted")
