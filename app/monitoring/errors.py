"""Why a monitor can't answer."""

from dataclasses import dataclass

from app.core.errors import Conflict, Invalid, NotFound


@dataclass(eq=False)
class RegimeMonitorNotFound(NotFound):
    """The model has no regime monitor of this name.

    A regime monitor follows one series of one model under a name that its maker chose. Under this name the model
    has none: it was never made, it was removed, or it belongs to another model.
    """

    model: str
    monitor: str

    def detail(self) -> str:
        return f"{self.model} has no regime monitor {self.monitor}."


@dataclass(eq=False)
class RegimeMonitorExists(Conflict):
    """The model has a regime monitor of this name already.

    A monitor's name is its address, and the values that it has taken are its memory. So a second one of the name
    is not made over the first.
    """

    model: str
    monitor: str

    def detail(self) -> str:
        return f"{self.model} has a regime monitor {self.monitor} already; delete it first, or take another name."


@dataclass(eq=False)
class SeriesNotPosted(Conflict):
    """The monitor reads its series by itself.

    A monitor of the kind `column` or `metric` takes its values from the prediction log or from the looks of other
    monitors. Values from outside would be counted among those, so they are not taken.
    """

    monitor: str
    source: str

    def detail(self) -> str:
        return f"{self.monitor} follows {self.source} by itself; values can be posted to a monitor of kind `posted`."


@dataclass(eq=False)
class NoSuchSeries(Invalid):
    """The model has no column or metric of numbers of this name.

    A monitor of a `column` follows numbers of the model's profiles (an input, `prediction`, `confidence`,
    `latency_ms`), one of a `metric` what monitors find. The source that was named is neither, or it is a column
    of text or categories, whose mean is nothing.
    """

    source: str | None
    known: list[str]

    def detail(self) -> str:
        known = ", ".join(self.known)
        return (
            f"source: {self.source!r} is none of {known}" if self.source else f"source: name one of {known}"
        )


@dataclass(eq=False)
class NoReferenceYet(Conflict):
    """The version has nothing yet that a window could be held against.

    Drift, profiles and regimes of columns compare with a reference, along bins that are made from it. This
    version was registered without a `reference` sample, and the log holds too few of its rows to make one from:
    `rows_wanted` are needed.
    """

    model_id: str
    rows_wanted: int
    has_sample: bool
    trouble: str | None
    is_given_up: bool

    def detail(self) -> str:
        if self.has_sample:
            return self._of_sample()
        trouble = f" The last attempt went wrong: {self.trouble}." if self.trouble else ""
        return (
            f"{self.model_id} was registered without a reference sample, and no reference is made of its first "
            f"{self.rows_wanted} rows yet: that happens within a minute of when so many are logged.{trouble} "
            "Send more predictions and ask again then, or register a version with `reference`."
        )

    def _of_sample(self) -> str:
        if self.is_given_up:
            return (
                f"the reference of {self.model_id} could not be made of its sample: {self.trouble}. "
                "Register the model once more with another `reference`."
            )
        if self.trouble:
            return (
                f"the reference of {self.model_id} could not be made of its sample so far: {self.trouble}. "
                "It is tried again: ask again in a minute."
            )
        return f"the reference of {self.model_id} is being made of its sample: ask again in a few seconds."


@dataclass(eq=False)
class NoGoodRow(Invalid):
    """Not one of the rows fits the model.

    The rows that came along were read against the model's signature, and each of them lacks a column or has a
    value of a wrong type. A check of no rows would say nothing, so there is none.
    """

    rows: int
    first: str

    def detail(self) -> str:
        return f"None of the {self.rows} rows fits the model; the first: {self.first}."
