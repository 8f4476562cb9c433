"""Why a monitor can't answer."""

from dataclasses import dataclass

from app.core.errors import Conflict, Invalid


@dataclass(eq=False)
class NoReferenceYet(Conflict):
    """The version has nothing yet that a window could be held against."""

    model_id: str
    rows_wanted: int

    def detail(self) -> str:
        return (
            f"{self.model_id} was registered without a reference sample, and fewer than {self.rows_wanted} rows of it are "
            "logged so far. Send more predictions, or register a version with `reference`."
        )


@dataclass(eq=False)
class NoGoodRow(Invalid):
    """Not one of the rows fits the model."""

    rows: int
    first: str

    def detail(self) -> str:
        return f"None of the {self.rows} rows fits the model; the first: {self.first}."
