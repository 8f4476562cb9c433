"""What the probe's child does for the gates: answer rows whose right answer is known."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.runtimes.errors import BadSample, BrokenArtifact
from app.runtimes.examine import score_or_refuse
from app.runtimes.formats import detect_format
from app.runtimes.loading import load_model
from app.runtimes.rows import Rows, parse_rows
from app.runtimes.samples import cells_of, read_sample, spread_rows
from app.runtimes.schema import Signature
from app.runtimes.scores import Scores

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 20_000  # enough to tell a difference of 1 % in accuracy from chance; more would only cost memory
MOST_GROUPS = 50  # a column with more values than this doesn't name groups of people

MOST_PROBABILITIES = 400_000  # of twenty classes for all rows: some megabytes of JSON
DETECTED = {-1: "an anomaly", 1: "none"}
"""What a detector answers, and so what may be true of a row, as scikit-learn has it."""


def answer_table(directory: Path, table: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """A model's answers to held-out rows, beside their truth and their inputs.

    Raises:
        BadSample: the table lacks the target or a column of the model, holds rows that it can't score, or a truth that
            no detector can answer.
    """
    signature, target = Signature.from_json(options["signature"]), options["target"]
    frame = read_sample(table)
    missing = [name for name in (*signature.names, target) if name not in frame.columns]
    if missing:
        raise BadSample(f"the held-out rows lack the column {', '.join(missing[:10])}")
    frame = spread_rows(frame.dropna(subset=[target]), MOST_ROWS)
    columns = list(signature.names)
    rows, truth = _parse(cells_of(frame[columns], signature), signature), _plain(frame[target])
    if signature.is_detector:
        _require_detected(truth, target)
    scores = _answers(directory, rows, signature, options)
    return {
        "truth": truth,
        "prediction": scores.prediction,
        "probabilities": _few_probabilities(scores) if options.get("with_probabilities") else None,
        "inputs": {name: _plain(frame[name]) for name in columns},
        "groups": {
            name: _plain(frame[name]) for name in frame.columns if frame[name].nunique() <= MOST_GROUPS
        },
    }


def answer_instances(directory: Path, _payload: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """A model's answers to rows as a caller would send them.

    Raises:
        BadSample: some row can't be scored.
    """
    signature = Signature.from_json(options["signature"])
    rows = _parse(options["instances"], signature)
    return {
        "prediction": _answers(directory, rows, signature, options).prediction,
        "truth": [],
        "inputs": {},
        "groups": {},
    }


def _parse(instances: list[Any], signature: Signature) -> Rows:
    rows = parse_rows({"instances": instances}, signature, max_rows=len(instances))
    if rows.errors:
        position, (error, *_) = next(iter(rows.errors.items()))
        raise BadSample(
            f"row {position}, column {error.column}: {error.problem}, expected {error.expected}, got {error.got}"
        )
    return rows


def _answers(directory: Path, rows: Rows, signature: Signature, options: dict[str, Any]) -> Scores:
    file = detect_format(directory, allowed_unsafe=tuple(options.get("allowed_unsafe", ())))
    scores = score_or_refuse(load_model(file, signature), rows)
    if any(isinstance(answer, list | dict) for answer in scores.prediction):
        raise BrokenArtifact("it gives more than one answer to a row, which can't be compared with a target")
    return scores


def _require_detected(truth: list[Any], target: str) -> None:
    for label in truth:
        if isinstance(label, bool) or label not in DETECTED:
            raise BadSample(
                f"the held-out rows hold {label!r} in the column {target!r}: it must be -1 for {DETECTED[-1]} or 1 for "
                f"{DETECTED[1]}, as the detector answers"
            )


def _few_probabilities(scores: Scores) -> list[list[float]] | None:
    odds = scores.probabilities
    few: list[list[float]] | None = None if odds is None or odds.size > MOST_PROBABILITIES else odds.tolist()
    return few


def _plain(series: "pd.Series[Any]") -> list[Any]:
    values: list[Any] = series.astype(object).where(series.notna(), None).tolist()
    return values
