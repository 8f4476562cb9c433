"""What the probe's child does for the gates: answer rows whose right answer is known."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.runtimes.errors import BadSample, BrokenArtifact
from app.runtimes.examine import score_or_refuse
from app.runtimes.formats import detect_format
from app.runtimes.loading import load_model
from app.runtimes.row_files import is_csv, read_sample
from app.runtimes.rows import Rows, parse_rows
from app.runtimes.samples import spread_rows
from app.runtimes.schema import Column, ColumnType, Signature
from app.runtimes.scores import Scores
from app.runtimes.sifting import LeftOut, cells_apart, labels_in, sift

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 20_000  # enough to tell a difference of 1 % in accuracy from chance; more would only cost memory
MOST_GROUPS = 50  # a column with more values than this doesn't name groups of people

MOST_PROBABILITIES = 400_000  # of twenty classes for all rows: some megabytes of JSON
DETECTED = {-1: "an anomaly", 1: "none"}
"""What a detector answers, and so what may be true of a row, as scikit-learn has it."""


def answer_table(directory: Path, table: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """A model's answers to held-out rows, beside their truth and their inputs; rows without a truth are passed over.

    Raises:
        BadSample: the table lacks the target or a column of the model, most of its rows can't be used, or a truth is one that
            no detector can answer.
    """
    signature, target = Signature.from_json(options["signature"]), options["target"]
    judged = _with_truth(signature, target)
    frame, passed_over = _open_held_out(table, signature, judged, target)
    left = LeftOut(len(frame))
    parts, places = [], []
    for part, good in sift(frame, judged, left):
        parts.append(part)
        places += good
    left.require_few()
    frame, width = frame.iloc[places], len(signature.inputs)
    rows = parse_rows(
        {"instances": [list(row[:width]) for part in parts for row in part.values]},
        signature,
        max_rows=len(places),
    )
    truth, scores = _plain(frame[target]), _answers(directory, rows, signature, options)
    if signature.is_detector:
        _require_detected(truth, target)
    return {
        "truth": truth,
        "prediction": scores.prediction,
        "probabilities": _few_probabilities(scores) if options.get("with_probabilities") else None,
        "inputs": {name: _plain(frame[name]) for name in signature.names},
        "groups": {
            name: _plain(frame[name]) for name in frame.columns if frame[name].nunique() <= MOST_GROUPS
        },
        "left_out": passed_over + left.told(),
    }


def _open_held_out(
    table: bytes, signature: Signature, judged: Signature, target: str
) -> "tuple[pd.DataFrame, list[str]]":
    """The rows with a truth, and how many had none."""
    whole = read_sample(table, judged.names_of(ColumnType.STRING))
    missing = [name for name in (*signature.names, target) if name not in whole.columns]
    if missing:
        raise BadSample(f"the held-out rows lack the column {', '.join(missing[:10])}")
    labelled = whole.dropna(subset=[target])
    frame = spread_rows(labelled, MOST_ROWS)
    if frame.empty:
        raise BadSample(f"the column {target!r} of the held-out rows, which should hold the truth, is empty")
    frame = cells_apart(frame, signature, is_csv=is_csv(table))
    truth = judged.inputs[-1]
    if truth.name == target:
        frame = frame.assign(**{target: labels_in(frame[target], truth.type)})
    return frame, _tell_unlabelled(target, len(whole) - len(labelled), len(whole))


def _tell_unlabelled(target: str, rows: int, of: int) -> list[str]:
    return [f"column {target!r}: {rows:,} of {of:,} rows passed over: they have no label"] if rows else []


def _with_truth(signature: Signature, target: str) -> Signature:
    """The columns that held-out rows are held against: the model's, then the truth, of the type of its answers."""
    kinds = {type(label) for label in signature.classes or ()}
    known = {_KINDS[kind] for kind in kinds} or {_TRUTHS.get(signature.output, signature.output)}
    if len(known) > 1 or target in signature.names:
        return signature
    return replace(signature, inputs=(*signature.inputs, Column(target, known.pop())))


_TRUTHS = {ColumnType.INTEGER: ColumnType.FLOAT}
"""Of a model that answers whole numbers: the truth may lie between them."""
_KINDS = {
    bool: ColumnType.BOOLEAN, int: ColumnType.FLOAT, float: ColumnType.FLOAT, str: ColumnType.STRING,
}  # fmt: skip


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
        "left_out": [],
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
