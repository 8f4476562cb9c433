"""Where the shipper puts what it can't ship, so that nothing is lost and nothing else has to wait."""

import base64
import json
import os
from pathlib import Path
from uuid import UUID

DIRECTORY = "quarantine"


def set_aside(root: Path, segment_id: UUID, start: int, content: bytes, reason: str) -> None:
    """Keep some bytes of a segment beside the spools; doing it again changes nothing."""
    directory = root / DIRECTORY
    directory.mkdir(exist_ok=True)
    told = {"segment": str(segment_id), "offset": start, "reason": reason}
    document = told | {"content_base64": base64.b64encode(content).decode()}
    path = directory / f"{segment_id}-{start}.json"
    unfinished = path.with_suffix(".new")
    with unfinished.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def count_set_aside(root: Path) -> int:
    """How many pieces wait for somebody to look at them."""
    return sum(1 for _ in (root / DIRECTORY).glob("*.json"))
