"""The least that an application can do with the same requests: parse the body, and answer the same bytes.

python -m tests.bench.bare --fd 3 --answer answer.json
"""

import argparse
import socket
from pathlib import Path

import uvicorn
from pydantic_core import from_json
from starlette.types import ASGIApp, Receive, Scope, Send


def bare_app(answer: bytes) -> ASGIApp:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        body = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        from_json(body, allow_inf_nan=False)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--answer", type=Path, required=True)
    given = parser.parse_args()
    app = bare_app(given.answer.read_bytes())
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", log_level="warning", access_log=False, lifespan="off"
    )
    # `uvicorn --fd` takes any descriptor for a Unix socket; TCP then holds small answers back for 40 ms (Nagle).
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=given.fd)])


if __name__ == "__main__":
    main()
