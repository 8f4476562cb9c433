"""What the prediction log costs and carries: encoding, spooling, shipping, labels and exports, each printed as a figure.

python -m tests.bench.log
"""

import asyncio
import tempfile
import time
import timeit
from pathlib import Path

import numpy as np

from app.core.database import Database
from app.core.embedded import embedded_postgres
from app.core.ids import new_id, new_ids
from app.core.migrate import migrate
from app.evidence.frames import Origin, ScoredRequest, encode_frame
from app.evidence.shipper import Shipper
from app.evidence.spool import Spool
from tests.bench import exports, labels

FEATURES = 30
ROWS = 60_000
GIB = 1 << 30
PROMISED_ROWS_PER_SECOND = 20_000
ORIGIN = Origin(
    "bench", new_id(), 1, ("float",) * FEATURES, "production", 1, "champion", 1.0, shadow=False, log_probability=1.0
)  # fmt: skip


def scored_request(rows: int) -> ScoredRequest:
    noise = np.random.default_rng(rows)
    odds = noise.random((rows, 1))
    return ScoredRequest(
        ORIGIN, "0190a6de-0000-7000-8000-000000000000", "bench-key", None, 0.8, new_ids(rows),
        noise.normal(size=(rows, FEATURES)), [1] * rows, np.hstack([odds, 1 - odds]),
    )  # fmt: skip


def microseconds(call, times: int) -> float:
    return min(timeit.repeat(call, number=times, repeat=5)) / times * 1e6


def print_hot_path(root: Path) -> None:
    spool = Spool(root / "hot", max_bytes=GIB)
    for rows, times in ((1, 10_000), (1000, 50)):
        request = scored_request(rows)
        frame = encode_frame(request)
        print(
            f"encode a frame of {rows} x {FEATURES}: {microseconds(lambda r=request: encode_frame(r), times):.1f} µs"
        )
        print(f"append it, durable: {microseconds(lambda f=frame: spool.append(f), times):.1f} µs")
    spool.close()
    for path in spool.directory.iterdir():
        path.unlink()


async def print_synced(root: Path) -> None:
    spool = Spool(root / "synced", max_bytes=GIB)
    frame = encode_frame(scored_request(1))

    async def client() -> None:
        for _ in range(20):
            await spool.append_synced(frame)

    for clients in (1, 64):
        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        print(
            f"append, synced, {clients} at once: {20 * clients / (time.perf_counter() - began):,.0f} frames/s"
        )
    spool.close()
    for path in spool.directory.iterdir():
        path.unlink()


async def print_shipping(root: Path, url: str, rows_per_request: int) -> None:
    spool = Spool(root / f"http-{rows_per_request}", max_bytes=GIB)
    for _ in range(ROWS // rows_per_request):
        spool.append(encode_frame(scored_request(rows_per_request)))
    spool.close()
    database = Database(url)
    shipper = Shipper(database, root)
    began, worked = time.perf_counter(), time.process_time()
    while await shipper.ship_round():
        pass
    rate = ROWS / (time.perf_counter() - began)
    cost = (time.process_time() - worked) / ROWS * 1e6
    ratio = f"{rate / PROMISED_ROWS_PER_SECOND:.2f} of the {PROMISED_ROWS_PER_SECOND:,} promised"
    print(
        f"ship requests of {rows_per_request}: {rate:,.0f} rows/s, {ratio}, {cost:.0f} µs of our processor each"
    )
    await database.close()


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        root = Path(name)
        print_hot_path(root)
        await print_synced(root)
        async with embedded_postgres(root / "database") as postgres:
            await migrate(postgres.url)
            for rows_per_request in (1, 1000):
                await print_shipping(root, postgres.url, rows_per_request)
    print(*await labels.measure(), *await exports.measure(), sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
