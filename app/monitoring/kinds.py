"""What monitors tell of a version as one number, and what series they follow."""

from enum import StrEnum


class Figure(StrEnum):
    """A number that the latest look at a version gave; the metric `model_<figure>` has it."""

    ACCURACY = "accuracy"
    LABEL_COVERAGE = "label_coverage"
    DRIFT_SCORE = "drift_score"
    DRIFT_DETECTED = "drift_detected"
    QUALITY_SCORE = "quality_score"


MEANINGS = {
    Figure.ACCURACY: "Realised accuracy of the latest window whose labels are in.",
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
    DRIFT_SCORE = "drift_score"
    QUALITY_SCORE = "quality_score"
