"""What a prediction was worth, by a formula that anybody may write: arithmetic on four names, and nothing else.

A formula is parsed by `ast` and built, node by node, from the operations listed here; whatever is not listed is refused
by name. Nothing is ever compiled or evaluated as Python.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.stats.formula_columns import Column, choose, comparing, every, none, read_column, some
from app.stats.formula_literals import Compared, list_literals
from app.stats.worth import Worth

Floats = NDArray[np.float64]
Built = Callable[[Mapping[str, Column]], Column]

NAMES = ("prediction", "actual", "value", "confidence")
LONGEST = 500  # characters
DEEPEST = 50
SHOWN = 60


@dataclass(eq=False)
class FormulaRefused(ValueError):  # noqa: N818 - it says what happened
    """A formula is not one, or can't be applied to such columns.

    Attributes:
        part: the offending part, as it was written.
        reason: what is wrong with it.
    """

    part: str
    reason: str

    def __str__(self) -> str:
        return f"{self.part[:SHOWN]!r}: {self.reason}"


@dataclass(frozen=True)
class Formula:
    """A formula that was found to be harmless.

    Attributes:
        text: as it was written.
        names: the columns that it reads.
        compared: the constants that `prediction` or `actual` must equal, or must not.
    """

    text: str
    names: frozenset[str]
    compared: tuple[Compared, ...]
    _build: Built = field(repr=False, compare=False)

    def apply(self, columns: Mapping[str, ArrayLike]) -> Worth:
        """The worth of each row.

        Args:
            columns: at least those named, of one length: numbers, booleans, or texts; None or NaN where there is none.

        Raises:
            FormulaRefused: texts stand where only numbers make sense.
            ValueError: a column is missing, or the lengths differ.

        >>> worth = parse_formula("value / confidence if prediction == actual else -50")
        >>> columns = {"prediction": ["buy", "sell", "buy"], "actual": ["buy", "buy", "buy"]}
        >>> worth.apply(columns | {"value": [10.0, 10.0, 10.0], "confidence": [0.5, 0.5, 0.0]})
        Worth(values=array([ 20., -50.,  nan]), undefined=1)
        """
        if missing := self.names - columns.keys():
            raise ValueError(f"the formula reads {', '.join(sorted(missing))}, which is not there")
        read = {name: read_column(name, columns[name]) for name in self.names}
        shapes = {column.shape for column in read.values()}
        if len(shapes) != 1 or {len(shape) for shape in shapes} != {1}:
            raise ValueError(f"columns of one length are needed, not of shapes {sorted(shapes)}")
        with np.errstate(all="ignore"):
            values = np.broadcast_to(self._build(read), next(iter(shapes))).astype(np.float64)
        return Worth(values, int(np.isnan(values).sum()))


def parse_formula(text: str) -> Formula:
    """Read a formula over `prediction`, `actual`, `value` and `confidence`.

    `+ - * / %`, comparisons (of texts: == and != alone), `and`, `or`, `not`, `a if b else c`, `abs`, `min`, `max`, `log`,
    `exp`, `sqrt`, numbers, texts, True and False. A truth counts as 1 or 0; what is undefined stays so, except beside
    what decides alone (`False and …`).

    >>> sorted(parse_formula("max(value, 0) * (prediction == 'buy')").names)
    ['prediction', 'value']
    >>> parse_formula("value.real")
    Traceback (most recent call last):
    app.stats.formula.FormulaRefused: 'value.real': an attribute is not part of formulas

    Raises:
        FormulaRefused: it is none, is too long or deep, or reads no column.
    """
    builder = _Builder(text)
    tree = _parsed(text)
    build = builder.number(tree, DEEPEST)
    if not builder.names:
        raise FormulaRefused(text, f"reads none of {', '.join(NAMES)}")
    compared = list_literals(tree, builder.text, builder.constant_of)
    return Formula(text, frozenset(builder.names), tuple(compared), build)


def _parsed(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise FormulaRefused(text, f"longer than {LONGEST} characters")
    if "\\" in text:  # Python would warn of the escapes that it doesn't know
        raise FormulaRefused("\\", "a backslash is not part of formulas")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as wrong:
        raise FormulaRefused((wrong.text or text).strip(), f"can't be read: {wrong.msg}") from None
    except (ValueError, RecursionError, MemoryError):  # null bytes, lone surrogates; towers of signs
        raise FormulaRefused(text, "can't be read") from None


class _Builder:
    """Turns what is allowed into functions of columns; each method is for one kind of node."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.names: set[str] = set()

    def refusal(self, node: ast.AST, reason: str) -> FormulaRefused:
        return FormulaRefused(ast.get_source_segment(self.text, node) or self.text, reason)

    def any(self, node: ast.AST, room: int) -> Built:
        """Numbers or texts."""
        if not room:
            raise self.refusal(node, f"nested deeper than {DEEPEST}")
        build = _NODES.get(type(node))
        if build is None:
            raise self.refusal(node, f"{_KINDS.get(type(node), type(node).__name__)} is not part of formulas")
        return build(self, node, room - 1)

    def number(self, node: ast.AST, room: int) -> Built:
        """Numbers alone."""
        refusal, build = self.refusal(node, "a text stands where a number is needed"), self.any(node, room)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            raise refusal

        def checked(columns: Mapping[str, Column]) -> Column:
            column = build(columns)
            if column.dtype == np.object_:
                raise FormulaRefused(refusal.part, refusal.reason)
            return column

        return checked

    def constant_of(self, part: ast.expr) -> str | float | None:
        """What a part that was built already is whatever the row; None where it reads a column or has no value."""
        if any(isinstance(each, ast.Name) and each.id in NAMES for each in ast.walk(part)):
            return None
        with np.errstate(all="ignore"):
            value: str | float = self.any(part, DEEPEST)({}).item()
        if isinstance(value, str):
            return value
        return None if np.isnan(value) else int(value) if value.is_integer() else value

    def name(self, node: ast.Name, _: int) -> Built:
        if node.id not in NAMES:
            raise self.refusal(node, f"the names are {', '.join(NAMES)}")
        self.names.add(node.id)
        return lambda columns: columns[node.id]

    def constant(self, node: ast.Constant, _: int) -> Built:
        if not isinstance(node.value, str | int | float):
            raise self.refusal(node, "constants are numbers and texts")
        try:
            value = (
                np.array(node.value, np.object_)
                if isinstance(node.value, str)
                else np.array(float(node.value))
            )
        except OverflowError:
            raise self.refusal(node, "too large a number") from None
        return lambda _: value

    def unary(self, node: ast.UnaryOp, room: int) -> Built:
        return self.apply(self.operation(node, node.op), [node.operand], room)

    def binary(self, node: ast.BinOp, room: int) -> Built:
        return self.apply(self.operation(node, node.op), [node.left, node.right], room)

    def truth(self, node: ast.BoolOp, room: int) -> Built:
        return self.apply(self.operation(node, node.op), node.values, room)

    def conditional(self, node: ast.IfExp, room: int) -> Built:
        return self.apply(choose, [node.test, node.body, node.orelse], room)

    def operation(self, node: ast.AST, sign: ast.AST) -> Callable[..., Column]:
        if type(sign) not in _SIGNS:
            raise self.refusal(node, f"the operation {type(sign).__name__} is not part of formulas")
        return _SIGNS[type(sign)]

    def call(self, node: ast.Call, room: int) -> Built:
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called not in _FUNCTIONS:
            raise self.refusal(node.func, f"the functions are {', '.join(_FUNCTIONS)}")
        function, takes_more = _FUNCTIONS[called]
        if node.keywords or len(node.args) < 1 + takes_more or (len(node.args) > 1 and not takes_more):
            raise self.refusal(
                node, f"{called} takes {'two or more numbers' if takes_more else 'one number'}"
            )
        return self.apply(function, node.args, room)

    def comparison(self, node: ast.Compare, room: int) -> Built:
        """Links of a chain, all of which have to hold."""
        sides = [node.left, *node.comparators]
        links = []
        for sign, left, right in zip(node.ops, sides, sides[1:], strict=False):
            compare, takes = (
                self.operation(node, sign),
                self.any if isinstance(sign, ast.Eq | ast.NotEq) else self.number,
            )
            links.append((compare, takes(left, room), takes(right, room)))
        return lambda columns: every(
            *(compare(left(columns), right(columns)) for compare, left, right in links)
        )

    def apply(self, function: Callable[..., Column], operands: Sequence[ast.AST], room: int) -> Built:
        """A function of numbers; what it makes infinite is undefined."""
        arguments = [self.number(operand, room) for operand in operands]

        def applied(columns: Mapping[str, Column]) -> Column:
            result = function(*(argument(columns) for argument in arguments))
            return np.where(np.isfinite(result), result, np.nan)

        return applied


_NODES: Mapping[type[ast.AST], Callable[[_Builder, Any, int], Built]] = {
    ast.Name: _Builder.name,
    ast.Constant: _Builder.constant,
    ast.UnaryOp: _Builder.unary,
    ast.BinOp: _Builder.binary,
    ast.BoolOp: _Builder.truth,
    ast.Compare: _Builder.comparison,
    ast.IfExp: _Builder.conditional,
    ast.Call: _Builder.call,
}
_KINDS = {
    ast.Attribute: "an attribute",
    ast.Subscript: "an index",
    ast.Lambda: "a function",
    ast.JoinedStr: "an f-string",
}
_SIGNS: Mapping[type[ast.AST], Callable[..., Column]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Mod: np.mod,
    ast.UAdd: np.positive,
    ast.USub: np.negative,
    ast.Not: none,
    ast.And: every,
    ast.Or: some,
    ast.Eq: comparing(np.equal),
    ast.NotEq: comparing(np.not_equal),
    ast.Lt: comparing(np.less),
    ast.LtE: comparing(np.less_equal),
    ast.Gt: comparing(np.greater),
    ast.GtE: comparing(np.greater_equal),
}
_FUNCTIONS: Mapping[str, tuple[Callable[..., Column], bool]] = {
    "abs": (np.abs, False),
    "log": (np.log, False),
    "exp": (np.exp, False),
    "sqrt": (np.sqrt, False),
    "min": (lambda *columns: reduce(np.minimum, columns), True),
    "max": (lambda *columns: reduce(np.maximum, columns), True),
}
