"""Why a request of these doors is refused, beyond what serving itself refuses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from app.core.errors import Invalid, Malformed, NotFound, Refusal

MOST_NAMED = 20  # rows, columns or models that a message names
MOST_SHOWN = 100  # characters of a name that a message repeats


def show(name: str) -> str:
    """A name as a message repeats it: quoted, and cut when it is long.

    >>> show("age")
    "'age'"
    """
    return repr(name if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]}…")


def name_some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are.

    >>> name_some(["a", "b"])
    "'a', 'b'"
    """
    shown = ", ".join(map(show, names[:MOST_NAMED]))
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"


@dataclass(eq=False)
class BadTensor(Invalid):
    """An input tensor is wrong.

    The message names an input and what is wrong with it: it is missing, twice there, none of the model's, or
    its shape, datatype or data doesn't fit. No row was scored.
    """

    input: str
    problem: str

    def detail(self) -> str:
        return f"input {show(self.input)} {self.problem}"


@dataclass(eq=False)
class BadElement(Invalid):
    """An element of an input tensor is wrong.

    The message tells where in which tensor the element stands, what is expected there, and what was found.
    Tensors are answered whole or not at all, so no row was scored.
    """

    input: str
    index: list[int]
    problem: str
    expected: str
    got: str

    def detail(self) -> str:
        return f"input {show(self.input)}, index {self.index} {self.problem}: expected {self.expected}, got {self.got}"


@dataclass(eq=False)
class UnknownOutput(Invalid):
    """The model gives no such output.

    Every model gives `predict`, and classifiers that know probabilities give `predict_proba` too. The request
    asks for something else by its `outputs`; the message names what there is.
    """

    output: str
    outputs: list[str]

    def detail(self) -> str:
        return f"the model gives no output {show(self.output)}; it gives {name_some(self.outputs)}"


@dataclass(eq=False)
class BadRow(Invalid):
    """A row does not fit the model's signature, and so no row of the request was scored.

    `/invocations` has no place for a row without an answer. The message tells of the first bad row, counted
    from 0: the column, what is wrong, and what the signature wants there.
    """

    row: int
    column: str | None
    problem: str
    expected: str
    bad_rows: int

    def detail(self) -> str:
        what = "" if self.column is None else f", column {show(self.column)}"
        more = f"; {self.bad_rows} rows are bad" if self.bad_rows > 1 else ""
        return f"row {self.row}{what} {self.problem}: expected {self.expected}{more}"


@dataclass(eq=False)
class RowsNotScored(Invalid):
    """The model could not score some of the rows, and this protocol has no answer for a part of them.

    The rows fit the signature, but the model failed on those that the message names, counted from 0. What it
    said of them is not told by this door, for it may repeat the data.
    """

    rows: list[int]

    def detail(self) -> str:
        rows = ", ".join(map(str, self.rows[:MOST_NAMED]))
        return f"the model could not score row {rows}; POST /api/models/{{model}}/predict says why, and answers the others"


class BinaryTensors(Refusal):
    """Tensors travel as JSON here: the binary data extension is not supported.

    The request has the header `Inference-Header-Content-Length`, by which a client says that raw bytes of
    tensors follow its JSON. Nothing was read of it.
    """

    status: ClassVar[int] = 501


class RepositoryControl(Refusal):
    """Models are not loaded and unloaded one by one: a promotion loads them, and a rollback or a replacement lets them go.

    To load or unload a model by hand would go past the gate to production, so `/v2/repository/models/…/load`
    and `…/unload` are there only to say so. Nothing was changed.
    """

    status: ClassVar[int] = 501


@dataclass(eq=False)
class NoModelServes(NotFound):
    """No model is in production.

    `/invocations` without `?model=` means the one model in production. There is none that the key sees and
    whose route is open.
    """

    def detail(self) -> str:
        return "no model is in production; promote one, or name a version as ?model=name:3"


@dataclass(eq=False)
class ModelNotNamed(Malformed):
    """Several models are in production, and the request names none.

    `/invocations` without `?model=` means the one model in production. The key sees several, and none is
    preferred.
    """

    models: list[str]

    def detail(self) -> str:
        return f"several models are in production; name one as ?model=: {name_some(self.models)}"


@dataclass(eq=False)
class UnreadableCsv(Malformed):
    """The body can't be read as CSV.

    CSV is read as UTF-8 with commas, by RFC 4180: a line of different column names first, then rows of as
    many cells. The message says what broke that, and where.
    """

    problem: str

    def detail(self) -> str:
        return f"csv: {self.problem}"


@dataclass(eq=False)
class UnknownMediaType(Refusal):
    """The body is of a kind that is not read here.

    `/invocations` reads JSON and CSV, told apart by `Content-Type`; the request names something else.
    """

    status: ClassVar[int] = 415
    known: list[str]

    def detail(self) -> str:
        return f"Content-Type must be one of {', '.join(self.known)}"
