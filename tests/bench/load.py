"""A load generator that costs little: keep-alive sockets, request bytes made once, answers counted."""

import argparse
import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
import uvloop

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"


@dataclass(frozen=True)
class Load:
    """What one run of the generator saw."""

    requests: int
    refused: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


class Caller(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes, until: float) -> None:
        self.request, self.until = request, until
        self.buffer = b""
        self.latencies: list[float] = []
        self.refused = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one without saying so
        self._ask()

    def _ask(self) -> None:
        self.asked_at = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if (size := answer_size(self.buffer)) is None or len(self.buffer) < size:
            return
        now = time.perf_counter()
        self.latencies.append(now - self.asked_at)
        self.refused += not self.buffer.startswith(b"HTTP/1.1 200")
        self.buffer = self.buffer[size:]
        if now < self.until:
            self._ask()
        else:
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed a busy connection"))


def answer_size(buffer: bytes) -> int | None:
    """The bytes of the answer at the front of a buffer, once its head is there."""
    end = buffer.find(HEAD_END)
    if end < 0:
        return None
    start = buffer.lower().find(LENGTH, 0, end) + len(LENGTH)
    return end + len(HEAD_END) + int(buffer[start : buffer.find(b"\r\n", start)])


async def press(host: str, port: int, request: bytes, *, connections: int, seconds: float) -> Load:
    """Ask over `connections` sockets for `seconds` and report what came back."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    callers = [
        (await loop.create_connection(lambda: Caller(request, began + seconds), host, port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(caller.done for caller in callers))
    lasted = time.perf_counter() - began
    for caller in callers:
        caller.transport.close()
    latencies = np.concatenate([caller.latencies for caller in callers]) * 1000
    p50, p99 = np.percentile(latencies, [50, 99])
    return Load(len(latencies), sum(c.refused for c in callers), lasted, float(p50), float(p99))


def post(path: str, body: bytes, **headers: str) -> bytes:
    """The bytes of one POST request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def main() -> None:
    """Read a request from standard input, press a server with it, print the figures as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--core", type=int, default=1)
    given = parser.parse_args()
    os.sched_setaffinity(0, {given.core})
    request = sys.stdin.buffer.read()
    load = uvloop.run(
        press("127.0.0.1", given.port, request, connections=given.connections, seconds=given.seconds)
    )
    sys.stdout.write(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
