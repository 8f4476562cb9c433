"""Draw what monitors say of the real streams: python -m tests.monitoring.streams_picture writes docs/streams.svg."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from tests.monitoring.real_streams import STREAMS, Replay, Told

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "streams.svg"
WIDTH, PANEL, LEFT, RIGHT, PLOT = 860, 190, 64, 16, 96
TITLES = {
    "elec2": "Electricity prices: accuracy, week by week",
    "bike_uci": "Bicycle rentals: mean absolute error, week by week",
    "credit_default": "Bank clients, shuffled: accuracy, 1,750 rows each",
    "metro_traffic": "Motorway traffic: mean absolute error, week by week",
}
INK, DRIFT, FALLEN, LINE = "#3a3f4b", "#c77700", "#b3261e", "#2f6db3"


def draw(told: Sequence[Told]) -> str:
    """All panels, one below the other."""
    height = PANEL * len(told) + 30
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
    parts = [
        f'{head} font-size="12" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for place, each in enumerate(told):
        parts.append(f'<g transform="translate({LEFT} {PANEL * place + 28})">{"".join(panel(each))}</g>')
    return "\n".join([*parts, legend(height - 14), "</svg>\n"])


def legend(y: int) -> str:
    entries = (
        (LINE, "model"),
        (INK, "baseline"),
        (DRIFT, "drift alarm"),
        (FALLEN, "performance proven fallen by 15 %"),
    )
    marks = [
        f'<rect x="{LEFT + 130 * i}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
        f'<text x="{LEFT + 130 * i + 15}" y="{y}">{escape(text)}</text>'
        for i, (colour, text) in enumerate(entries)
    ]
    return "".join(marks)


def panel(told: Told) -> Iterator[str]:
    width, count = WIDTH - LEFT - RIGHT, len(told.starts)
    weekly = [float(np.mean(told.metric[i : i + 7])) for i in range(0, count, 7)]
    low, high = min(*weekly, told.baseline), max(*weekly, told.baseline)

    def y(value: float) -> float:
        return PLOT - PLOT * (value - low) / (high - low or 1.0)

    def x(bucket: float) -> float:
        return width * bucket / count

    yield f'<text x="0" y="-10" font-weight="bold">{escape(TITLES[told.name])}</text>'
    for value in (low, high):
        text = f"{value:.2f}" if high < 2 else f"{value:.0f}"
        yield f'<text x="-8" y="{y(value) + 4:.1f}" text-anchor="end">{text}</text>'
    points = " ".join(
        f"{x(7 * i + 3.5):.1f},{y(value):.1f}" for i, value in enumerate(weekly) if 7 * i + 3.5 <= count
    )
    yield f'<polyline points="{points}" fill="none" stroke="{LINE}" stroke-width="1.3"/>'
    base = f"{y(told.baseline):.1f}"
    yield f'<line x2="{width}" y1="{base}" y2="{base}" stroke="{INK}" stroke-dasharray="4 4"/>'
    yield from alarms([last for last, *_ in told.drift], DRIFT, PLOT + 8, x)
    yield from alarms([last for last, *_ in told.fallen], FALLEN, PLOT + 20, x)
    yield f'<line x2="{width}" y1="{PLOT + 33}" y2="{PLOT + 33}" stroke="{INK}" stroke-width=".6"/>'
    if told.name == "credit_default":
        return
    for bucket in range(0, round(0.93 * count), max(1, count // 6)):
        yield f'<text x="{x(bucket):.1f}" y="{PLOT + 46}">{told.starts[bucket]:%b %Y}</text>'


def alarms(buckets: Sequence[int], colour: str, top: int, x) -> Iterator[str]:
    for bucket in sorted(set(buckets)):
        yield f'<rect x="{x(bucket):.1f}" y="{top}" width="1.6" height="9" fill="{colour}"/>'


if __name__ == "__main__":
    PICTURE.write_text(draw([Replay(STREAMS[name]()).run() for name in TITLES]))
