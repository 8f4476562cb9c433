"""The local disk: refused politely when it is full, and left in order when a caller gives up."""

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from app.artifacts.errors import StorageFull
from app.core.ids import new_id

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def full_disk_refused() -> Iterator[None]:
    """Turn the operating system's ways of saying "no room" into one refusal.

    Raises:
        StorageFull: a write in this block hit a full disk, a quota or a limit of file size.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull from error
        raise


def require_space(directory: Path, size_bytes: int) -> None:
    """Refuse early what could only fail after gigabytes.

    Raises:
        StorageFull: the file system of `directory` has less than `size_bytes` free.
    """
    if shutil.disk_usage(directory).free < size_bytes:
        raise StorageFull


def sync_to_disk(path: Path) -> None:
    """Make a new file survive a power cut: its bytes, its name, and its directory's, which may be new too (fsync(2))."""
    for each in (path, path.parent, path.parent.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def create_whole(path: Path, content: bytes) -> None:
    """Create a file that nobody can see half-written: linking fails for all but the first, as O_EXCL would."""
    draft = _draft(path, content)
    try:
        path.hardlink_to(draft)
        sync_to_disk(path)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def replace_whole(path: Path, content: bytes) -> None:
    """Have a file hold this and nothing else; whoever reads it sees the old or the new."""
    if not path.exists() or path.read_bytes() != content:
        _draft(path, content).replace(path)


def _draft(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{new_id()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return draft


async def run_to_end(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread; a cancelled caller waits for it, so that nothing writes after the clean-up."""
    thread = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        raise
