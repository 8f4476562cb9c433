"""Metrics on the wire, and what the latest rows of a window tell."""

from pydantic import Field

from app.core.wire import Outgoing
from app.monitoring.kinds import PerformanceFinding


class MetricOut(Outgoing):
    """A metric with its interval, or why there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int | None = Field(None, description="How many rows carry it.")
    bin_error: float | None = Field(
        None, description="By how much it may be off besides, for being told from bins."
    )
    insufficient_data: str | None = Field(None, description="What there is too little of.")
    labels_needed: int | None = Field(None, description="About how many more labels would tell it.")


class IntervalOut(Outgoing):
    """A value with its interval; an end that nothing bounds is null."""

    value: float
    low: float | None
    high: float | None


class WorthOut(Outgoing):
    """What the latest labelled rows were worth."""

    formula: str
    rows: int = Field(description="The latest labelled rows of the window, at most 20,000.")
    undefined: int = Field(description="Those of them that the formula gives nothing for.")
    mean: MetricOut
    total: float | None = Field(
        description="Over the rows that have a worth, rounded once; null where none has, or beyond 1.8e308."
    )


class ReturnsOut(Outgoing):
    """How a trading model did over the latest labelled rows."""

    periods: int
    metrics: dict[str, MetricOut]


class SliceOut(Outgoing):
    """One group of a column's values."""

    group: str
    labelled: int
    metrics: dict[str, MetricOut]


class SlicesOut(Outgoing):
    """The metrics by the groups of a column, over the latest labelled rows; the intervals hold all together."""

    column: str
    labelled: int
    groups: list[SliceOut]


class GapOut(Outgoing):
    """Two groups side by side, by how much more often the one is answered so."""

    lower: str
    higher: str
    difference: IntervalOut
    ratio: IntervalOut | None


class RateOut(Outgoing):
    """A rate by group, and the gaps between them, the largest first; their intervals hold all together."""

    groups: dict[str, MetricOut]
    gaps: list[GapOut]


class FairnessOut(Outgoing):
    """How differently groups of people are answered: selection rate, true and false positive rates."""

    column: str
    favourable: str
    rows: int = Field(description="The latest rows of the window, labelled or not, at most 20,000.")
    rates: dict[str, RateOut]


class CauseOut(Outgoing):
    """What one input explains of the change of the mean loss; positive is worse."""

    feature: str
    drift: IntervalOut = Field(description="Rows moved to where the model always did worse.")
    concept: IntervalOut = Field(description="The model does worse in the same places.")
    share: float | None = Field(
        description="Of drift in the sizes of the two, from 0 to 1; null where nothing changed."
    )


class CausesOut(Outgoing):
    """The inputs to look at first, ranked by what their drift surely did to the loss."""

    labelled_before: int
    labelled_now: int
    change_of_loss: float | None = None
    insufficient_data: str | None = None
    features: list[CauseOut]


class EstimatedOut(Outgoing):
    """What the labels that are missing will show, as far as that can be told."""

    warning: str
    metrics: dict[str, MetricOut]
    rows: int = Field(description="The latest rows of the window, labelled or not, at most 20,000.")
    learnt_from: int = Field(description="Labelled rows from before the window.")
    corrected_by: int = Field(description="Labelled rows of the window.")
    insufficient_data: str | None
    finding: PerformanceFinding | None = Field(description="Beside the baseline.")
    metric: str | None
    loss: IntervalOut | None
