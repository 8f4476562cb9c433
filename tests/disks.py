"""Small file systems, for tests that fill them."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(size_bytes: int = 6 * 1024 * 1024) -> Iterator[Path]:
    """A file system that holds no more than this; needs the right to mount one.

    It does not lie in pytest's own directory: should a run be killed, the next one could not clear that away.
    """
    directory = Path(tempfile.mkdtemp(prefix="switchyard-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)
        directory.rmdir()


def may_mount() -> bool:
    return os.geteuid() == 0 and Path("/bin/mount").exists()
