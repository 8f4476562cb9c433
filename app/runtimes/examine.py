"""What the probe's child does: load a file for the first time, try it out, and write down what it is."""

import statistics
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.runtimes.asking import usable_cells
from app.runtimes.errors import BadSample, BrokenArtifact, OutputsChanged
from app.runtimes.formats import detect_format, versions_in
from app.runtimes.loading import load_model, open_model
from app.runtimes.openapi import example_row
from app.runtimes.row_files import is_csv, read_sample
from app.runtimes.row_order import in_order_of
from app.runtimes.rows import Rows, parse_rows
from app.runtimes.samples import (
    STORED_ROWS,
    cells_of,
    choose_columns,
    complete_signature,
    infer_signature,
    signed_columns,
    spread_rows,
)
from app.runtimes.schema import ColumnType, Signature
from app.runtimes.scores import Model, Scores
from app.runtimes.sifting import MOST_ROWS, LeftOut, cells_apart, rows_taken, warn_of_digits, warn_of_few
from app.runtimes.sklearn_models import SklearnModel
from app.runtimes.traits import Loaded, Traits, first_line, storable

if TYPE_CHECKING:
    import pandas as pd

TIMED_CALLS = 5
TOLERANCE = 1e-6  # relative; other processors sum floats in another order, other models differ by far more
_PAGE_BYTES = 4096


def examine(directory: Path, sample: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """Load the model in a directory, score its sample, and report on it as JSON.

    Raises:
        Refusal: one of this room's, saying why the model can't be registered.
    """
    file = detect_format(directory, allowed_unsafe=tuple(options.get("allowed_unsafe", ())))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = resident_bytes()
        loaded = open_model(file)
        loaded.check_structure()
        memory = max(0, resident_bytes() - before)
        report = _report(loaded, sample, options)
    told = sorted({first_line(item.message) for item in caught if issubclass(item.category, UserWarning)})
    identity = {
        "format": file.format.value,
        "file": str(file.path.relative_to(directory)),
        "memory_bytes": memory,
    }
    report["requirements"] |= versions_in(file)
    whole: dict[str, Any] = storable(report | identity | {"warnings": report["warnings"] + told})
    return whole


def _report(loaded: Loaded, sample: bytes, options: dict[str, Any]) -> dict[str, Any]:
    traits = loaded.traits()
    signature, kept, warned = (
        _read_signed(loaded, traits, sample, options) if sample else _sign_unseen(traits, options)
    )
    rows = _sample_rows(kept, signature)
    reference = _own_answers(loaded, kept)  # before `serve`, which changes the estimator
    model = loaded.serve(signature)
    scores = score_or_refuse(model, rows)
    if reference is not None and differing_rows(scores.prediction, reference):
        raise BrokenArtifact(
            "the model answers the sample's data frame otherwise than the same values as a matrix"
        )
    return _told(traits, _with_output(signature, scores)) | {
        "labels_from_probabilities": _argmax_is_enough(loaded, scores),
        "sample_input": [list(row) for row in rows.values],
        "sample_output": scores_to_json(scores),
        "latency_ms_per_row": lone_row_ms(model, rows),
        "warnings": warned,
    }


def _sign_unseen(traits: Traits, options: dict[str, Any]) -> tuple[Signature, None, list[str]]:
    given = options.get("signature")
    signature = (
        complete_signature(Signature.from_json(given), traits) if given else infer_signature(traits, None)
    )
    return signature, None, ["no reference sample: the smoke prediction used a made-up row"]


def _read_signed(
    loaded: Loaded, traits: Traits, sample: bytes, options: dict[str, Any]
) -> "tuple[Signature, pd.DataFrame, list[str]]":
    """The signature, the rows of the sample that are stored beside it, and what was left out of the sample."""
    given = Signature.from_json(options["signature"]) if options.get("signature") else None
    columns = given.inputs if given else traits.columns or ()
    text = [column.name for column in columns if column.type == ColumnType.STRING]
    ordered, _, timeless = in_order_of(read_sample(sample, text), options.get("time_column"))
    frame = choose_columns(ordered, traits)
    if given:
        signature = complete_signature(given, traits)
    else:
        signature = infer_signature(traits, frame, usable_cells(loaded, traits, frame, is_csv=is_csv(sample)))
    frame = cells_apart(
        spread_rows(signed_columns(frame, signature), MOST_ROWS), signature, is_csv=is_csv(sample)
    )
    left = LeftOut(len(frame))
    taken = rows_taken(frame, signature, left)
    left.require_few()
    kept = spread_rows(taken).infer_objects()
    warned = (
        timeless.told() + left.told() + warn_of_digits(frame, signature, traits) + warn_of_few(taken, kept)
    )
    return signature, kept, warned


def _told(traits: Traits, signature: Signature) -> dict[str, Any]:
    return {
        "framework": traits.framework,
        "algorithm": traits.algorithm,
        "signature": signature.to_json(),
        "classes": None if signature.classes is None else list(signature.classes),
        "requirements": dict(traits.versions),
        "parameters": traits.parameters,
        "feature_importances": _importances(traits, signature),
    }


def _sample_rows(frame: "pd.DataFrame | None", signature: Signature) -> Rows:
    instances: list[Any] = [example_row(signature)] if frame is None else cells_of(frame, signature)
    return stored_rows(instances, signature)


def stored_rows(instances: list[Any], signature: Signature) -> Rows:
    """The rows of a sample, every one of them good.

    Raises:
        BadSample: one is not.
    """
    rows = parse_rows({"instances": instances}, signature, max_rows=STORED_ROWS)
    if rows.errors:
        position, (error, *_) = next(iter(rows.errors.items()))
        column = f" column {error.column}" if error.column else ""
        raise BadSample(
            f"row {position}{column}: {error.problem}, expected {error.expected}, got {error.got}"
        )
    return rows


def _own_answers(loaded: Loaded, frame: "pd.DataFrame | None") -> list[Any] | None:
    if frame is None or not isinstance(loaded, SklearnModel):
        return None
    try:
        return loaded.own_answers(frame)
    except MemoryError:
        raise
    except Exception as error:
        empty = [repr(name) for name in frame.columns if frame[name].isna().all()]
        if empty:
            raise BadSample(_NOTHING_THERE.format(", ".join(empty[:10]))) from error
        raise _failure(len(frame), error) from error


_NOTHING_THERE = (
    "the column {} is empty in all rows that were tried, and the model answers none of them; "
    "fill it, or send a `signature` that says what it holds if the model takes nulls there"
)


def _failure(rows: int, error: Exception) -> BrokenArtifact:
    return BrokenArtifact(
        f"the model can't score {rows} sample rows: {type(error).__name__}: {first_line(error)}"
    )


def score_or_refuse(model: Model, rows: Rows) -> Scores:
    """A model's answers to its sample.

    Raises:
        BrokenArtifact: it gives none, or not one for each row.
    """
    try:
        scores = model.score(rows)
    except MemoryError:
        raise
    except Exception as error:
        raise _failure(len(rows.good), error) from error
    if len(scores.prediction) != len(rows.good):
        raise BrokenArtifact(f"the model gave {len(scores.prediction)} answers to {len(rows.good)} rows")
    return scores


def _with_output(signature: Signature, scores: Scores) -> Signature:
    kinds = {bool: ColumnType.BOOLEAN, int: ColumnType.INTEGER, str: ColumnType.STRING}
    answers = {type(answer) for answer in scores.prediction if answer is not None}
    output = kinds.get(answers.pop(), ColumnType.FLOAT) if len(answers) == 1 else ColumnType.FLOAT
    return Signature(signature.inputs, signature.task, output, signature.classes)


def _argmax_is_enough(loaded: Loaded, scores: Scores) -> bool:
    if not isinstance(loaded, SklearnModel) or scores.probabilities is None or not loaded.may_take_argmax():
        return False
    assert scores.classes is not None
    return [scores.classes[i] for i in scores.probabilities.argmax(axis=1).tolist()] == scores.prediction


def _importances(traits: Traits, signature: Signature) -> dict[str, float] | None:
    if traits.importances is None or len(traits.importances) != len(signature.names):
        return None
    return dict(zip(signature.names, traits.importances, strict=True))


def lone_row_ms(model: Model, rows: Rows) -> float:
    """The median time of scoring one row by itself."""
    row, times = rows.slice(0, 1), []
    for _ in range(TIMED_CALLS):
        start = time.perf_counter()
        model.score(row)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def scores_to_json(scores: Scores) -> dict[str, Any]:
    """Answers in the form in which they are stored beside the sample."""
    probabilities = None if scores.probabilities is None else scores.probabilities.tolist()
    return {"predictions": scores.prediction, "probabilities": probabilities}


def resident_bytes() -> int:
    """How much memory this process has mapped and touched."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE_BYTES


def check_outputs(directory: Path, _: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """Score the stored sample again and compare with the stored answers.

    Raises:
        OutputsChanged: they differ.
    """
    file = detect_format(directory, allowed_unsafe=tuple(options.get("allowed_unsafe", ())))
    signature = Signature.from_json(options["signature"])
    rows = stored_rows(options["sample_input"], signature)
    require_same_answers(load_model(file, signature), rows, options["sample_output"])
    return {"rows": len(rows.good)}


def require_same_answers(model: Model, rows: Rows, then: dict[str, Any]) -> None:
    """Make sure that a model answers its stored sample as it did when it was registered.

    Raises:
        OutputsChanged: it answers otherwise.
    """
    now = scores_to_json(score_or_refuse(model, rows))
    changed = differing_rows(now["predictions"], then["predictions"])
    if then["probabilities"] is not None:
        changed |= differing_rows(now["probabilities"] or [], then["probabilities"])
    if changed:
        raise OutputsChanged(sorted(changed), _largest_difference(now, then))


def differing_rows(now: list[Any], then: list[Any]) -> set[int]:
    """The positions at which answers differ by more than the tolerance."""
    if len(now) != len(then):
        return set(range(max(len(now), len(then))))
    return {i for i, (a, b) in enumerate(zip(now, then, strict=True)) if not _is_same(a, b)}


def _is_same(now: Any, then: Any) -> bool:
    if isinstance(now, list) and isinstance(then, list):
        return not differing_rows(now, then)
    if isinstance(now, float) and isinstance(then, int | float):
        return abs(now - then) <= TOLERANCE * max(1.0, abs(then))
    return bool(now == then)


def _largest_difference(now: dict[str, Any], then: dict[str, Any]) -> float | None:
    pairs = zip(_numbers(now["probabilities"] or now), _numbers(then["probabilities"] or then), strict=False)
    return max((abs(a - b) for a, b in pairs), default=None)


def _numbers(answers: Any) -> list[float]:
    if isinstance(answers, dict):
        return _numbers(answers["predictions"])
    if isinstance(answers, list):
        return [number for answer in answers for number in _numbers(answer)]
    return [float(answers)] if isinstance(answers, int | float) else []
