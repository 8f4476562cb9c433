"""Formulas as they are asked for: those that can't be meant are refused before any row is read."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.core.errors import FieldProblem
from app.runtimes.schema import Label

if TYPE_CHECKING:
    from app.stats.formula import Formula

MOST_LISTED = 20  # labels in a refusal


def read_formula(text: str) -> "Formula":
    """A formula over prediction, actual, value and confidence.

    Raises:
        FieldProblem: it is none.
    """
    from app.stats.formula import FormulaRefused, parse_formula  # noqa: PLC0415 - and SciPy with it

    try:
        return parse_formula(text)
    except FormulaRefused as refused:
        raise FieldProblem("value", str(refused)) from None


def require_labels(formula: "Formula", known: Mapping[str, Sequence[Label] | None]) -> None:
    """Make sure that a formula compares answers and truths with labels that they can be.

    Args:
        formula: whose literals are looked at.
        known: the labels that `prediction` and `actual` can be; None where they are numbers, or anything.

    Raises:
        FieldProblem: it asks for a label that is none, and would be wrong about every row.
    """
    for each in formula.compared:
        if any(known[name] is None for name in each.names):
            continue
        labels = list(dict.fromkeys(label for name in each.names for label in known[name] or ()))
        if not any(_is_one(each.literal, label) for label in labels):
            listed = ", ".join(map(repr, labels[:MOST_LISTED])) + (", …" if len(labels) > MOST_LISTED else "")
            raise FieldProblem(
                "value", f"{each.part!r}: {each.literal!r} is no label of this model; they are {listed}"
            )


def require_numbers(formula: "Formula") -> None:
    """Make sure that a formula compares the answers of a regression, and what came true of them, with no text.

    Raises:
        FieldProblem: it does, and would be wrong about every row.
    """
    for each in formula.compared:
        if isinstance(each.literal, str):
            raise FieldProblem(
                "value", f"{each.part!r}: {each.literal!r} is a text; this model's answers are numbers"
            )


def _is_one(literal: Label, label: Label) -> bool:
    """As formulas compare: a text is no number, and truths are 1 and 0."""
    return isinstance(literal, str) == isinstance(label, str) and literal == label
