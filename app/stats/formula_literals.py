"""Which labels a formula asks for, so that one which is none can be refused before it is wrong about every row."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LABELS = ("prediction", "actual")
Literal = str | float
Constant = Callable[[ast.expr], Literal | None]
"""What a part of a formula is whatever the row; None where that depends on it."""


@dataclass(frozen=True)
class Compared:
    """A text or a number that answers or truths must equal, or must not.

    Attributes:
        names: `prediction`, `actual`, or both where a condition chooses between them.
        literal: what stands on the other side.
        part: the comparison as it was written.
    """

    names: tuple[str, ...]
    literal: Literal
    part: str


def list_literals(tree: ast.expr, text: str, constant: Constant) -> Iterator[Compared]:
    """What a formula that was found to be harmless compares with `prediction` or `actual`, if that is the same for all rows.

    >>> text = "1 if prediction == -1 else (actual != 'no') * (value == 3)"
    >>> tree = ast.parse(text, mode="eval").body
    >>> [(each.names, each.literal) for each in list_literals(tree, text, ast.literal_eval)]
    [(('prediction',), -1), (('actual',), 'no')]
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        for sign, left, right in zip(node.ops, sides, sides[1:], strict=False):
            if isinstance(sign, ast.Eq | ast.NotEq):
                part = ast.get_source_segment(text, node) or text
                for names, other in ((_labels_in(left), right), (_labels_in(right), left)):
                    literal = constant(other) if names else None
                    if literal is not None:
                        yield Compared(names, literal, part)


def _labels_in(side: ast.expr) -> tuple[str, ...]:
    """Which of answers and truths a side is; none where it may be anything else."""
    if isinstance(side, ast.Name):
        return (side.id,) if side.id in LABELS else ()
    if not isinstance(side, ast.IfExp):
        return ()
    yes, no = _labels_in(side.body), _labels_in(side.orelse)
    return tuple(dict.fromkeys(yes + no)) if yes and no else ()
