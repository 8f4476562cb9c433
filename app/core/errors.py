"""Why Switchyard says no: every refusal is one of these kinds, and a kind is an HTTP status.

Refusal
├── Malformed 400             the request can't be read
├── Unauthenticated 401       nobody we know is asking
├── Forbidden 403             known, but not allowed
├── NotFound 404              no such thing, or none that this caller may see
├── Conflict 409              the state of things does not allow it now
├── Stale 412                 someone else changed it since the caller looked
├── TooLarge 413              past a limit of size
├── Invalid 422               readable, but wrong
├── PreconditionRequired 428  the caller must say which state it has seen
├── TooMany 429               ask again later
├── Unavailable 503           something it needs is not there now
├── TimedOut 504              the deadline passed first
└── NoSpace 507               nowhere to put it durably

A room's own error is a dataclass under one of them: its class name becomes the problem's `type`, the
first line of its docstring the `title`, its fields extension members, and `str()` the `detail`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a malfunction
    """The request was refused."""

    status: ClassVar[int] = 400
    headers: ClassVar[dict[str, str]] = {}

    def __str__(self) -> str:
        return self.detail()

    def detail(self) -> str:
        """What happened this time, and the way out: overridden by every room's error."""
        return (type(self).__doc__ or "").split("\n", 1)[0]

    def members(self) -> dict[str, Any]:
        """The extension members that a problem document of this error carries."""
        return {f.name: getattr(self, f.name) for f in fields(self)} if is_dataclass(self) else {}


class Malformed(Refusal):
    """The request can't be read."""

    status = 400


class Unauthenticated(Refusal):
    """Nobody we know is asking."""

    status = 401
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class Forbidden(Refusal):
    """The caller may not do this."""

    status = 403


class NotFound(Refusal):
    """There is no such thing.

    Nothing of this service lies at this address: some part of it is misspelt, missing or too much. Where a
    model, a version or another thing is what is not there, the answer says so by a `type` of its own.
    """

    status = 404


class Conflict(Refusal):
    """The present state does not allow this."""

    status = 409


class Stale(Refusal):
    """Someone else changed it meanwhile."""

    status = 412


class TooLarge(Refusal):
    """The request is larger than the limit."""

    status = 413


class Invalid(Refusal):
    """The request can be read but is wrong."""

    status = 422


class PreconditionRequired(Refusal):
    """The request must name the state that it has seen."""

    status = 428


class TooMany(Refusal):
    """Too many requests at once."""

    status = 429
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class Unavailable(Refusal):
    """Something that this request needs is not there now.

    Model files and tables are read in a process apart, which can be lost without harm. It ended before it had
    answered, was started anew, and ended again; nothing of the request was kept.
    """

    status = 503
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class TimedOut(Refusal):
    """The deadline passed first."""

    status = 504


class NoSpace(Refusal):
    """There is nowhere to put it durably."""

    status = 507
    headers: ClassVar[dict[str, str]] = {"Retry-After": "5"}


@dataclass(eq=False)
class MalformedJson(Malformed):
    """The body is not JSON.

    `problem` says what the reader met where JSON wants something else, and in bodies of rows the line and the
    column too; `place` is `body`, or `metadata` in the form of a registration. `NaN` and `Infinity` are no
    JSON.
    """

    problem: str
    place: str = "body"

    def detail(self) -> str:
        return f"{self.place}: {self.problem}"


@dataclass(eq=False)
class FieldProblem(Invalid):
    """A field of the request is wrong.

    A value is well-formed, and yet can't be used: something else in the request, or the state of things here,
    contradicts it. `field` names the member, the parameter or the header, and `problem` says what is wrong
    with it.
    """

    field: str
    problem: str

    def detail(self) -> str:
        return f"{self.field}: {self.problem}"


def kinds_of_refusal(base: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    """Every named error of the app that is loaded: the leaves and inner nodes under `Refusal`."""
    for kind in base.__subclasses__():
        yield kind
        yield from kinds_of_refusal(kind)
