"""Why a model file, a signature or a batch of rows is refused."""

from dataclasses import dataclass

from app.core.errors import Invalid, Malformed, TimedOut, TooLarge, TooMany, Unavailable

CONVERT_TO_SKOPS = """\
import joblib, skops.io
model = joblib.load("model.pkl")
skops.io.dump(model, "model.skops")"""


@dataclass(eq=False)
class UnknownPayload(Malformed):
    """The body does not hold rows in one known form.

    Rows come under one of the names that the members of the body can have, so that no row is read in two ways.
    This body has none of them, or more than one.
    """

    found: list[str]

    def detail(self) -> str:
        found = f"it has {', '.join(self.found)}" if self.found else "it has none of them"
        return f"the body needs exactly one of instances, dataframe_records, dataframe_split, inputs; {found}"


@dataclass(eq=False)
class MisshapenPayload(Malformed):
    """The rows can't be read as a table.

    A member of the body is there, but what it holds has the wrong shape: it is no list or no object, columns
    differ in length, or a name comes twice. `field` says where, `problem` what is wanted there; no row was
    scored.
    """

    field: str
    problem: str

    def detail(self) -> str:
        return f"{self.field}: {self.problem}"


@dataclass(eq=False)
class EmptyBatch(Invalid):
    """There is no row to score.

    A prediction of no rows has no answer, and is most likely a mistake of whoever made the request.
    """

    field: str

    def detail(self) -> str:
        return f"{self.field} holds no row; send at least one"


@dataclass(eq=False)
class TooManyRows(TooLarge):
    """The batch has more rows than one call may carry.

    One very large call would hold up all others, so the rows of a call have a limit. None of them was scored.
    """

    rows: int
    limit: int

    def detail(self) -> str:
        return f"{self.rows} rows in one call, the limit is {self.limit}; send them in several calls"


@dataclass(eq=False)
class BadSignature(Invalid):
    """The signature is wrong.

    A signature names a model's columns in their order, and what it answers. Something in this one can't be
    kept, or contradicts what the model file tells; `problems` has a sentence for each wrong field.
    """

    problems: dict[str, str]

    def detail(self) -> str:
        return "; ".join(f"{field}: {problem}" for field, problem in self.problems.items())


@dataclass(eq=False)
class BadSample(Invalid):
    """The rows of the file can't be used.

    Rows came as a file (`reference`, `evaluation`, or a table to look at) that can't be read, lacks columns,
    or has too few rows that the model takes. `problem` says which, and where.
    """

    problem: str

    def detail(self) -> str:
        return self.problem


@dataclass(eq=False)
class UnknownFormat(Invalid):
    """The model file is of no known format.

    A format is told by a file's content, whatever its name. Exactly one of the files has to be a model in a
    format that is served; none is, or several are.
    """

    problem: str

    def detail(self) -> str:
        return f"{self.problem}; send skops, ONNX, native XGBoost (.ubj, .json) or a LightGBM text model"


@dataclass(eq=False)
class UnsafeArtifact(Invalid):
    """The model file could run code or reach outside itself.

    Files are looked at before they are loaded. Pickles (joblib, PyTorch), Keras and HDF5 files can run any
    code, and links, crafted archives or external data can reach elsewhere; `problem` says what was found in
    which file.
    """

    problem: str
    remedy: str = ""

    def detail(self) -> str:
        return f"{self.problem}. {self.remedy}" if self.remedy else self.problem


@dataclass(eq=False)
class BrokenArtifact(Invalid):
    """The model file can't be loaded or does not predict.

    A model file is loaded and asked for one prediction before it is registered. One of the two failed; `problem`
    has the words of the library.
    """

    problem: str

    def detail(self) -> str:
        return self.problem


@dataclass(eq=False)
class ProbeTimedOut(Invalid):
    """Loading the model file took too long.

    A model file is loaded once in a process of its own, and asked for one prediction, before it is registered.
    That was not done within the limit, so the file was not taken.
    """

    limit_seconds: float

    def detail(self) -> str:
        return f"loading and one prediction did not finish within {self.limit_seconds:g} s"


@dataclass(eq=False)
class ProbeOutOfMemory(Invalid):
    """Loading the model file took too much memory.

    A model file is loaded once in a process of its own with limited memory, before it is registered. It needed
    more, so it was not taken.
    """

    limit_bytes: int

    def detail(self) -> str:
        return f"loading and one prediction needed more than {self.limit_bytes:,} bytes"


@dataclass(eq=False)
class OutputsChanged(Invalid):
    """The model no longer gives the answers that were stored with it.

    At every load a model answers its stored sample again, and has to answer as it did at registration, to one
    part in a million. The files are the same, so it is what runs them that changed: a library or the machine.
    It is told as the reason why a version is not ready, or in the report of a gate.
    """

    rows: list[int]
    largest_difference: float | None

    def detail(self) -> str:
        by = "" if self.largest_difference is None else f", by up to {self.largest_difference:.3g}"
        return f"answers on the stored sample differ in {len(self.rows)} rows{by}; first: {self.rows[:5]}"


@dataclass(eq=False)
class NotConvertible(Invalid):
    """This model is not served through ONNX.

    A model is served through ONNX only where the converted one is proved to answer its stored sample alike.
    `problem` says why this one can't be converted, or where the answers differ; nothing was registered.
    """

    problem: str

    def detail(self) -> str:
        return self.problem


@dataclass(eq=False)
class QueueFull(TooMany):
    """Too many rows are waiting for this model.

    Calls wait in memory for their turn at the model, and as many rows wait already as may. Refusing at once is
    better than an answer that comes too late; nothing of this call was scored.
    """

    waiting_rows: int
    limit: int

    def detail(self) -> str:
        return f"{self.waiting_rows} rows wait for this model already, the limit is {self.limit}; ask again later"


@dataclass(eq=False)
class DeadlinePassed(TimedOut):
    """The deadline came before the answer.

    The rows waited for the model, or were being scored, when the time for an answer was over. The model is busy,
    or slow for so many rows.
    """

    def detail(self) -> str:
        return "the model did not answer in time; send fewer rows, or ask again when it is less busy"


@dataclass(eq=False)
class ModelNotReady(Unavailable):
    """This version can't answer yet.

    A version answers once its files are fetched, verified, loaded and tried. One of these failed, or there was
    no room in memory, as `reason` says; 30 seconds later it is tried again, by the service itself where a
    route names the version, else by the next request.
    """

    version: str
    state: str
    reason: str

    def detail(self) -> str:
        return f"version {self.version} is {self.state}{self.reason and ': '}{self.reason}"


@dataclass(eq=False)
class OutOfModelMemory(Unavailable):
    """The loaded models leave no room for this one.

    Models are held in memory within a budget. Those that serve can't be let go, and beside them this one does not
    fit.
    """

    version: str
    needed_bytes: int
    budget_bytes: int
    pinned_bytes: int

    def detail(self) -> str:
        return (
            f"version {self.version} needs {self.needed_bytes:,} bytes; versions that serve hold "
            f"{self.pinned_bytes:,} of the {self.budget_bytes:,} that SWITCHYARD_MODEL_MEMORY_BYTES gives"
        )
