"""Draw the house from its own imports: `make picture` writes docs/house.svg.

Each floor may import only what lies below it. An arrow is drawn for every import between rooms, its width
telling how many modules take part; one that ran upwards would be red (and `lint-imports` would refuse it).
"""

import tomllib
from collections import Counter
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
WIDTH, ROW, BOX_HEIGHT = 1000, 86, 46


def floors() -> list[list[str]]:
    """The floors as the import contract declares them, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers" and c.get("exhaustive"))
    named = [[room.strip(" ()") for room in floor.replace(":", "|").split("|")] for floor in layers]
    present = {path.stem if path.is_file() else path.name for path in (ROOT / "app").iterdir()}
    return [kept for floor in named if (kept := [room for room in floor if room in present])]


def imports_between_rooms() -> Counter[tuple[str, str]]:
    """How many modules of one room import some of another."""
    graph = grimp.build_graph("app", include_external_packages=False)
    found: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        rooms = {
            name.split(".")[1] for name in graph.find_modules_directly_imported_by(module) if "." in name
        }
        here = module.split(".")[1] if "." in module else None
        found.update((here, room) for room in rooms if here and room != here)
    return found


def lines_in(room: str) -> int:
    path = ROOT / "app" / room
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    return sum(len(file.read_text().splitlines()) for file in files)


def place(levels: list[list[str]]) -> dict[str, tuple[float, float]]:
    """The middle of each room's box."""
    return {
        room: (WIDTH * (i + 1) / (len(floor) + 1), ROW * (level + 0.7))
        for level, floor in enumerate(levels)
        for i, room in enumerate(floor)
    }


def arrow(start: tuple[float, float], end: tuple[float, float], count: int) -> str:
    (x1, y1), (x2, y2) = start, end
    color = "#c0392b" if y2 <= y1 else "#7f8c8d"
    y1, y2 = y1 + BOX_HEIGHT / 2, y2 - BOX_HEIGHT / 2
    bend = (y1 + y2) / 2
    width = min(0.6 + count * 0.25, 4)
    path = f"M{x1:.0f},{y1:.0f} C{x1:.0f},{bend:.0f} {x2:.0f},{bend:.0f} {x2:.0f},{y2:.0f}"
    return f'<path d="{path}" stroke="{color}" stroke-width="{width:.1f}" fill="none" opacity=".55" marker-end="url(#tip)"/>'


def box(room: str, middle: tuple[float, float]) -> str:
    lines = lines_in(room)
    width = min(60 + lines**0.5 * 2.2, 220)
    x, y = middle[0] - width / 2, middle[1] - BOX_HEIGHT / 2
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="6" fill="#fdfaf3" stroke="#2c3e50"/>'
        f'<text x="{middle[0]:.0f}" y="{middle[1]:.0f}" class="room">{escape(room)}</text>'
        f'<text x="{middle[0]:.0f}" y="{middle[1] + 15:.0f}" class="lines">{lines} lines</text>'
    )


def draw() -> str:
    levels = floors()
    spots = place(levels)
    arrows = [
        arrow(spots[a], spots[b], count)
        for (a, b), count in sorted(imports_between_rooms().items())
        if a in spots and b in spots
    ]
    height = ROW * len(levels) + 20
    style = "text{font:14px sans-serif;text-anchor:middle;fill:#2c3e50}.lines{font-size:10px;fill:#7f8c8d}"
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5" orient="auto"><path d="M0,0L8,4L0,8z" fill="#7f8c8d"/></marker>'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">',
            f"<style>{style}</style><defs>{tip}</defs><rect width='100%' height='100%' fill='white'/>",
            *arrows,
            *(box(room, middle) for room, middle in spots.items()),
            "</svg>",
        ]
    )


if __name__ == "__main__":
    target = ROOT / "docs" / "house.svg"
    target.write_text(draw() + "\n")
    print(f"wrote {target.relative_to(ROOT)}")
