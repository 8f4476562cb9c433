"""Every figure that Switchyard promises, measured in one run and printed beside its target.

python -m tests.bench [part ...] [--scale 0.5]
"""

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable

from tests.bench import history, liveness, profiles, promotes, registry, starting
from tests.bench.figures import Figure

MEASURED: dict[str, Callable[[float], Awaitable[list[Figure]]]] = {
    "starting": lambda _: starting.measure(),
    "registry": lambda scale: registry.measure(seconds=8 * scale),
    "promotes": lambda scale: promotes.measure(seconds=15 * scale),
    "profiles": lambda _: profiles.measure(),
    "history": lambda _: history.measure(),
    "liveness": lambda scale: liveness.measure(seconds=8 * scale),
}
PRINTED = {"predict": 60.0, "log": None, "seasons": None}
"""Parts that print what they find, as programs of their own, with the seconds that they are told."""


def main() -> None:
    """Run the parts that were asked for, one after another; the table comes last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"{', '.join([*MEASURED, *PRINTED])}; all by default"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="how long to measure, beside the usual time")
    given = parser.parse_args()
    parts = given.parts or [*MEASURED, *PRINTED]
    if unknown := set(parts) - {*MEASURED, *PRINTED}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    for part in parts:
        print(f"measuring: {part} …", flush=True)
        if part in MEASURED:
            figures += asyncio.run(measure(part, given.scale))
        else:
            run_program(part, given.scale)
    print(*figures, sep="\n")


async def measure(part: str, scale: float) -> list[Figure]:
    every_core = os.sched_getaffinity(0)
    try:
        return await MEASURED[part](scale)
    finally:
        os.sched_setaffinity(0, every_core)


def run_program(part: str, scale: float) -> None:
    seconds = PRINTED[part]
    told = [] if seconds is None else [str(seconds * scale)]
    subprocess.run([sys.executable, "-m", f"tests.bench.{part}", *told], check=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
