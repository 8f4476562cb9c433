"""A worker that is killed while it delivers: python -m tests.alerts.dying <database> <base path> <smtp url>"""

import asyncio
import sys
from pathlib import Path

from app.core.config import Settings
from app.worker import run_worker


def main(database: str, base_path: str, smtp: str) -> None:
    """Work as the service's own worker does, until killed."""
    settings = Settings(
        database_url=database, base_path=Path(base_path), smtp_url=smtp, allowed_targets="127.0.0.0/8"
    )
    asyncio.run(run_worker(settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
