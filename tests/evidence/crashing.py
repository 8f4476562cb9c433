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
from app.evidence import shipper as shipping
from app.evidence.frames import encode_frame
from app.evidence.shipper import Shipper
from tests.evidence.making import open_spool, scored_request

BEGAN = 9  # the descriptor on which a child says that it is at work


def kill_repeatedly(work: Callable[[], object], rounds: int, longest_seconds: float) -> None:
    """Let a child do endless work and kill it, again and again; the imports are paid once."""
    for _ in range(rounds):
        began, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(tell, BEGAN)
            work()
            os._exit(1)
        os.close(tell)
        os.read(began, 1)
        os.close(began)
        time.sleep(random.uniform(0, longest_seconds))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit("the work ended by itself")


def write_forever(root: Path) -> None:
    """Acknowledge each prediction once its frame is in the spool, as the service does."""
    random.seed(os.getpid())
    spool = open_spool(root, segment_bytes=64 * 1024)
    os.write(BEGAN, b"!")
    while True:
        scored = scored_request(random.choice([1, 1, 1, 20]))
        spool.append(encode_frame(scored))
        os.write(1, b"".join(identifier.bytes for identifier in scored.ids))


async def ship_forever(root: Path, url: str) -> None:
    """Ship in small batches, so that most of the time some transaction is open."""
    shipping.MAX_FRAMES = 50
    shipper = Shipper(Database(url), root)
    await shipper.ship_round()
    os.write(BEGAN, b"!")
    while True:
        await shipper.ship_round()
        await asyncio.sleep(0.001)


def main(command: str, root: str, rounds: str, *url: str) -> None:
    if command == "write":
        kill_repeatedly(lambda: write_forever(Path(root)), int(rounds), 0.03)
    else:
        kill_repeatedly(lambda: asyncio.run(ship_forever(Path(root), *url)), int(rounds), 0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
