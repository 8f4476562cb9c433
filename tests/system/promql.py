"""As much of PromQL as tells which metrics a query asks for, and which of their labels it uses.

After the grammar of Prometheus (promql/parser/generated_parser.y); what it can't read, it refuses.
"""

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*") | (?P<number>\d+(?:\.\d+)?(?![\w.])) | (?P<range>\[[^\]]+\])
    | (?P<name>[a-zA-Z_:][\w:]*) | (?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},])
    )""",
    re.VERBOSE,
)
_AGGREGATIONS = {"sum", "min", "max", "avg", "count", "topk", "bottomk", "stddev", "quantile", "group"}
_FUNCTIONS = {"rate", "increase", "histogram_quantile", "max_over_time", "time", "clamp_min", "absent"}
_OPERATORS = {"+", "-", "*", "/", "%", "^", "==", "!=", "<=", ">=", "<", ">", "and", "or", "unless"}


@dataclass
class Asked:
    """Metrics with the labels that are asked of each: by a matcher, or by a grouping around it."""

    labels: dict[str, set[str]] = field(default_factory=dict)

    def take(self, other: "Asked", more: frozenset[str] = frozenset()) -> None:
        for metric, labels in other.labels.items():
            self.labels.setdefault(metric, set()).update(labels | more)


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            assert found, f"what is {text[place : place + 20]!r}?"
            self._tokens.append((found.lastgroup, found.group(found.lastgroup)))
            place = found.end()

    @property
    def next(self) -> str:
        return self._tokens[0][1] if self._tokens else ""

    def take(self, *wanted: str) -> str:
        kind, text = self._tokens.pop(0)
        assert not wanted or text in wanted or kind in wanted, f"{text!r} where {wanted} should be"
        return text

    def query(self) -> Asked:
        asked = self.operand()
        while self.next in _OPERATORS:
            self.take()
            used: frozenset[str] = frozenset()
            if self.next in {"on", "ignoring"}:
                used = self.grouping("on", "ignoring")
            if self.next in {"group_left", "group_right"}:
                self.grouping("group_left", "group_right")
            asked.take(self.operand(), used or frozenset())
        return asked

    def operand(self) -> Asked:
        kind, text = self._tokens[0]
        if kind == "number":
            self.take()
            return Asked()
        if text == "(":
            return self.parenthesised()
        self.take("name")
        if text in _AGGREGATIONS:
            return self.aggregation()
        if self.next == "(":
            assert text in _FUNCTIONS, f"no function {text}"
            return self.parenthesised()
        return self.selector(text)

    def parenthesised(self) -> Asked:
        asked = Asked()
        self.take("(")
        while self.next != ")":
            asked.take(self.query())
            if self.next == ",":
                self.take()
        self.take(")")
        return asked

    def aggregation(self) -> Asked:
        labels = self.grouping("by", "without") if self.next in {"by", "without"} else frozenset()
        inner = self.parenthesised()
        if self.next in {"by", "without"}:
            labels = self.grouping("by", "without")
        asked = Asked()
        asked.take(inner, labels)
        return asked

    def grouping(self, *words: str) -> frozenset[str]:
        self.take(*words)
        self.take("(")
        labels = set()
        while self.next != ")":
            labels.add(self.take("name"))
            if self.next == ",":
                self.take()
        self.take(")")
        return frozenset(labels)

    def selector(self, metric: str) -> Asked:
        labels = set()
        if self.next == "{":
            self.take()
            while self.next != "}":
                labels.add(self.take("name"))
                self.take("=", "!=", "=~", "!~")
                self.take("string")
                if self.next == ",":
                    self.take()
            self.take("}")
        if self._tokens and self._tokens[0][0] == "range":
            self.take()
        return Asked({metric: labels})


def read_query(text: str) -> Asked:
    """What a query asks for.

    >>> read_query('sum by (le) (rate(x_bucket{a="1"}[5m])) > 0.5').labels == {"x_bucket": {"a", "le"}}
    True
    """
    reader = _Reader(text)
    asked = reader.query()
    assert not reader.next, f"what is {reader.next!r}?"
    return asked
