"""Processes that are killed over and over while they write or ship the log.

python -m tests.evidence.crashing write <spool root> <rounds>     acknowledged ids come out, 16 bytes each
python -m tests.evidence.crashing ship <spool root> <rounds> <database>
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from app.core.database import Database
from app.evidence.frames import encode_frame
from app.evidence.shipper import ship_forever
from tests.evidence.making import open_spool, scored_request


def kill_repeatedly(work: Callable[[], object], rounds: int, longest_seconds: float) -> None:
    """Let a child do endless work and kill it, again and again; the imports are paid once."""
    for _ in range(rounds):
        child = os.fork()
        if child == 0:
            work()
            os._exit(1)
        time.sleep(random.uniform(0, longest_seconds))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit("the work ended by itself")


def write_forever(root: Path) -> None:
    """Acknowledge each prediction once its frame is in the spool, as the service does."""
    random.seed(os.getpid())
    spool = open_spool(root, segment_bytes=64 * 1024)
    while True:
        scored = scored_request(random.choice([1, 1, 1, 20]))
        spool.append(encode_frame(scored))
        os.write(1, b"".join(identifier.bytes for identifier in scored.ids))


async def ship(root: Path, url: str) -> None:
    await ship_forever(Database(url), root, idle_seconds=0.005)


def main(command: str, root: str, rounds: str, *url: str) -> None:
    if command == "write":
        kill_repeatedly(lambda: write_forever(Path(root)), int(rounds), 0.03)
    else:
        kill_repeatedly(lambda: asyncio.run(ship(Path(root), *url)), int(rounds), 0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
