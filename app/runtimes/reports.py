"""What the children that load model files for the first time report."""

from dataclasses import dataclass
from typing import Any

from app.runtimes.tally import Reason
from app.stats.profile import Sections


@dataclass(frozen=True)
class ProbeReport:
    """What the first load of a model found; every field is JSON.

    Attributes:
        format: which reader it needs.
        file: the model file, relative to its directory.
        framework: the library that made it.
        algorithm: its final estimator, objective or operator.
        signature: see `Signature.from_json`.
        classes: the labels that it can answer.
        requirements: libraries and versions that the file names.
        parameters: its hyper-parameters.
        labels_from_probabilities: to hand to `load_model`.
        sample_input: at most 100 rows of the reference sample, in signature order.
        sample_output: the predictions and probabilities for them.
        latency_ms_per_row: median time to score one row alone.
        memory_bytes: how much memory loading took.
        feature_importances: by column, where the model keeps them.
        warnings: what whoever registers it should know.
    """

    format: str
    file: str
    framework: str
    algorithm: str
    signature: dict[str, Any]
    classes: list[Any] | None
    requirements: dict[str, str]
    parameters: dict[str, Any]
    labels_from_probabilities: bool
    sample_input: list[list[Any]]
    sample_output: dict[str, Any]
    latency_ms_per_row: float
    memory_bytes: int
    feature_importances: dict[str, float] | None
    warnings: list[str]


@dataclass(frozen=True)
class Answers:
    """A model's answers to rows whose truth is known.

    Attributes:
        truth: the target of each row.
        prediction: the model's answer to each.
        inputs: the model's columns.
        groups: every column with few enough values to name groups by, used by the model or not.
        left_out: which rows could not be used, a sentence for each column.
        probabilities: of the signature's classes, row by row; None where the model gives none, or too many to hand on.
    """

    truth: list[Any]
    prediction: list[Any]
    inputs: dict[str, list[Any]]
    groups: dict[str, list[Any]]
    left_out: list[str]
    probabilities: list[list[float]] | None = None


@dataclass(frozen=True)
class TableProfile:
    """A table that was counted along a plan.

    Attributes:
        rows, refused, repeated, reasons: see `Tally`.
        sections: see `Profile.to_bytes`; None where no row fits.
    """

    rows: int
    refused: int
    repeated: int
    reasons: dict[Reason, int]
    sections: Sections | None


@dataclass(frozen=True)
class SliceProfiles:
    """A reference sample, apart by the groups of one column.

    Attributes:
        groups: see `Groups.from_json`.
        slices: of each group the rows and their profile, see `Profile.to_bytes`.
    """

    groups: dict[str, Any]
    slices: list[tuple[int, Sections]]


@dataclass(frozen=True)
class ReferenceProfile:
    """A reference sample as monitoring keeps it.

    Attributes:
        plan: see `Plan.from_json`.
        rows: how many of it fit the model.
        sections: see `Profile.to_bytes`.
        order: see `RowOrder.from_json`.
        week: each hour of the week with its rows and their profile, where whole weeks were seen.
    """

    plan: list[dict[str, Any]]
    rows: int
    sections: Sections
    order: dict[str, Any]
    week: list[tuple[int, int, Sections]]
