"""Which labels a formula asks for, so that one which is none can be refused before it is wrong about every row."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

LABELS = ("prediction", "actual")


@dataclass(frozen=True)
class Compared:
    """A text or a number that answers or truths must equal, or must not.

    Attributes:
        name: `prediction` or `actual`.
        literal: what stands on the other side.
        part: the comparison as it was written.
    """

    name: str
    literal: str | float
    part: str


def list_literals(tree: ast.expr, text: str) -> Iterator[Compared]:
    """What a formula that was found to be harmless compares with `prediction` or `actual`, if that is written out.

    >>> text = "1 if prediction == -1 else (actual != 'no') * (value == 3)"
    >>> [(each.name, each.literal) for each in list_literals(ast.parse(text, mode="eval").body, text)]
    [('prediction', -1), ('actual', 'no')]
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        for sign, left, right in zip(node.ops, sides, sides[1:], strict=False):
            if isinstance(sign, ast.Eq | ast.NotEq):
                part = ast.get_source_segment(text, node) or text
                yield from _between(left, right, part)
                yield from _between(right, left, part)


def _between(named: ast.expr, other: ast.expr, part: str) -> Iterator[Compared]:
    if not isinstance(named, ast.Name) or named.id not in LABELS:
        return
    try:
        literal = ast.literal_eval(other)
    except (ValueError, TypeError):  # a name, a sum
        return
    yield Compared(named.id, literal, part)
