"""The kinds of what monitors find, advise, compare with, tell as one number, and follow."""

from enum import StrEnum


class Recommendation(StrEnum):
    """What to do about a model."""

    NO_ACTION_NEEDED = "NO_ACTION_NEEDED"
    RETRAIN_SOON = "RETRAIN_SOON"
    RETRAIN_IMMEDIATELY = "RETRAIN_IMMEDIATELY"


class Finding(StrEnum):
    """What a window proves."""

    DRIFT = "drift"  # the distribution changed
    NO_RELEVANT_DRIFT = "no_relevant_drift"  # if it did, then by less than the threshold
    TOO_LITTLE_DATA = "too_little_data"


class PerformanceFinding(StrEnum):
    """What a window proves of a relative loss."""

    FALLEN = "fallen"  # it is past the threshold
    HOLDING = "holding"  # it is within it
    UNDECIDED = "undecided"
    INSUFFICIENT_DATA = "insufficient_data"
    NO_BASELINE = "no_baseline"


class BaselineKind(StrEnum):
    """What a version's performance is held against."""

    EVALUATION = "evaluation"  # the held-out rows of its registration, answered by the version itself
    STATED = "stated"  # metrics that were given at its registration
    FIRST_LABELS = "first_labels"  # its own first labels, where it was registered without either


class Season(StrEnum):
    """Whose hours of the week a window is held against."""

    OF_REFERENCE = "of_reference"  # its rows have times, of two weeks at least
    LEARNT = "learnt"  # those of the stream's first weeks, at the level of the reference
    NOT_KNOWN_YET = "not_known_yet"
    TOO_MANY_COLUMNS = "too_many_columns"


class HeldAgainst(StrEnum):
    """Which rows of a reference sample groups of a window are held against."""

    SAME_HOURS = "same_hours"  # those of the hours of the week that the window's rows are of
    ALL_HOURS = "all_hours"  # all: they have no times


class Figure(StrEnum):
    """A number that the latest look at a version gave; the metric `model_<figure>` has it."""

    ACCURACY = "accuracy"
    ESTIMATED_ACCURACY = "estimated_accuracy"
    LABEL_COVERAGE = "label_coverage"
    DRIFT_SCORE = "drift_score"
    DRIFT_DETECTED = "drift_detected"
    QUALITY_SCORE = "quality_score"


MEANINGS = {
    Figure.ACCURACY: "Realised accuracy of the latest window whose labels are in.",
    Figure.ESTIMATED_ACCURACY: "Accuracy that the latest rows let expect, where most of their labels are missing.",
    Figure.LABEL_COVERAGE: "Share of that window's predictions that have their label.",
    Figure.DRIFT_SCORE: "Largest weighted distance of an input from the reference, from 0 to 1, at the latest look.",
    Figure.DRIFT_DETECTED: "Whether drift was proven and has not been seen to end.",
    Figure.QUALITY_SCORE: "Quality of the inputs, from 0 to 1, at the latest look.",
}


class SeriesKind(StrEnum):
    """Where the values of a followed series come from."""

    COLUMN = "column"  # the mean of a column of the prediction log in each five minutes
    METRIC = "metric"  # what the monitors of the model found, look by look
    POSTED = "posted"  # whatever a caller sends


class SeriesMetric(StrEnum):
    """The metrics that can be followed."""

    ROWS = "rows"
    LOSS = "loss"
    DRIFT_SCORE = "drift_score"
    QUALITY_SCORE = "quality_score"
