"""Whether `/livez` goes on answering while the log leaves as a file.

python -m tests.bench.exports
"""

import asyncio
import tempfile
from pathlib import Path

from tests.bench.figures import Figure
from tests.bench.labels import predict, until_logged
from tests.bench.liveness import p99_ms, register_forest
from tests.bench.running import Running, get, running_service

ROWS = 200_000
EXPORT = "/api/models/forest/predictions/export?format="
BLOCK_BYTES = 1 << 20


async def measure() -> list[Figure]:
    """The 99th percentile of `/livez` during one export in each format."""
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        async with running_service(Path(name)) as running:
            await register_forest(running)
            await predict(running)
            await predict(running)
            await until_logged(running, ROWS)
            return [await export(running, form) for form in ("csv", "parquet")]


async def export(running: Running, form: str) -> Figure:
    async def download(_: Running) -> None:
        await read_to_end(running.port, get(EXPORT + form))

    livez = await p99_ms(running, download, 0)
    return Figure(f"/livez p99 while {ROWS:,} rows are exported as {form}", livez, 100, "ms", at_most=True)


async def read_to_end(port: int, request: bytes) -> None:
    """Ask once, and forget the answer block by block: its length is not told before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    end = b""
    while block := await reader.read(BLOCK_BYTES):
        end = (end + block)[-5:]
    assert end == b"0\r\n\r\n", "cut off"
    writer.close()


if __name__ == "__main__":
    for figure in asyncio.run(measure()):
        print(figure)
