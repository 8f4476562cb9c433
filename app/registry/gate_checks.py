"""The checks of a gate: each looks at what is known of a version and says whether it may pass, and why. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from app.stats.paired import PairedLoss, compare_errors, compare_losses

MIB = 1024 * 1024
LOST_BELOW = 0.05
FEWEST_ROWS = 30
MOST_STRANGE = 0.5  # of held-out labels; of more, the coding is wrong rather than the model
SHOWN_CLASSES = 10
SCORES = ("accuracy", "balanced_accuracy", "roc_auc", "auc", "f1", "r2", "precision", "recall")
"""Metrics of which a value next to 1 is more often a leak than a success."""


@dataclass(frozen=True)
class Check:
    """What one check found. `passed` is None when there was nothing to judge by."""

    check: str
    passed: bool | None
    finding: str
    figures: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The check as it is stored with the version."""
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """A version's answers on held-out rows, beside the truth."""

    truth: Sequence[Any]
    prediction: Sequence[Any]
    is_classification: bool


def check_metrics(
    metrics: Mapping[str, float], bounds: Mapping[str, Mapping[str, float | None]]
) -> list[Check]:
    """Whether every metric that the model's gates name was reported and keeps to its bounds."""
    return [_check_metric(name, metrics.get(name), bound) for name, bound in bounds.items()]


def _check_metric(name: str, value: float | None, bound: Mapping[str, float | None]) -> Check:
    label = f"metric {name}"
    if value is None:
        return Check(
            label, passed=False, finding="the version reports no such metric; register it with `metrics`"
        )
    low, high = bound.get("min"), bound.get("max")
    if low is not None and value < low:
        return Check(
            label,
            passed=False,
            finding=f"{value:g} is below the least allowed, {low:g}",
            figures={"value": value},
        )
    if high is not None and value > high:
        return Check(
            label,
            passed=False,
            finding=f"{value:g} is above the most allowed, {high:g}",
            figures={"value": value},
        )
    return Check(label, passed=True, finding=f"{value:g} keeps to its bounds", figures={"value": value})


def check_latency(latency_ms: float | None, budget_ms: float | None) -> Check | None:
    """Whether scoring a row is fast enough."""
    if budget_ms is None or latency_ms is None:
        return None
    figures = {"latency_ms": latency_ms, "budget_ms": budget_ms}
    return Check(
        "latency", latency_ms <= budget_ms, f"{latency_ms:.3g} ms a row, allowed are {budget_ms:g}", figures
    )


def check_memory(memory_bytes: int | None, budget_mb: float | None) -> Check | None:
    """Whether the loaded model is small enough."""
    if budget_mb is None or memory_bytes is None:
        return None
    used = memory_bytes / MIB
    return Check(
        "memory", used <= budget_mb, f"{used:.3g} MiB loaded, allowed are {budget_mb:g}", {"mib": used}
    )


def check_too_good(metrics: Mapping[str, float], threshold: float) -> Check:
    """Whether a reported score is so high that a leak is the likelier reason."""
    suspects = {
        name: value for name, value in metrics.items() if name.lower() in SCORES and value >= threshold
    }
    if suspects:
        listed = ", ".join(f"{name} {value:g}" for name, value in suspects.items())
        return Check(
            "leakage: too good",
            passed=False,
            finding=f"{listed}: look for a leak, or raise gates.too_good",
            figures=suspects,
        )
    return Check("leakage: too good", passed=True, finding="no score is suspiciously high")


def check_labels(truth: Sequence[Any], classes: Sequence[Any] | None) -> list[Check]:
    """Which held-out labels the model never answers; nothing where it answers all of them, or has no classes."""
    known = set(map(_class_of, classes or ()))
    strange = [label for label in truth if _class_of(label) not in known]
    if not classes or not strange:
        return []
    share = len(strange) / len(truth)
    named = ", ".join(map(repr, classes[:SHOWN_CLASSES])) + (", …" if len(classes) > SHOWN_CLASSES else "")
    return [
        Check(
            "held-out labels",
            False if share > MOST_STRANGE else None,
            f"{len(strange):,} of {len(truth):,} rows hold a label such as {strange[0]!r}, which is none of the model's "
            f"classes ({named}): they count as wrong answers here, and are left out of the baseline of its performance; "
            "write the labels as the model answers them",
            {"rows": len(strange), "share": share},
        )
    ]


def check_copied_target(columns: Mapping[str, Sequence[Any]], truth: Sequence[Any]) -> Check:
    """Whether some feature of the held-out rows is the answer itself, under another name."""
    copies = [
        name
        for name, values in columns.items()
        if len(set(map(str, truth))) > 1 and _determines(values, truth)
    ]
    if copies:
        return Check(
            "leakage: target copied", passed=False, finding=f"{', '.join(copies)} holds the answer itself"
        )
    return Check("leakage: target copied", passed=True, finding="no feature is a copy of the target")


def _determines(values: Sequence[Any], truth: Sequence[Any]) -> bool:
    """Whether two columns are the same up to renaming (or, for many values, up to scale)."""
    pairs = {(str(a), str(b)) for a, b in zip(values, truth, strict=True)}
    renamed = len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    return (
        renamed and len(pairs) < max(len(truth) // 2, 3)
        if _is_nominal(truth)
        else _is_rescaled(values, truth)
    )


def _is_nominal(truth: Sequence[Any]) -> bool:
    return len(set(map(str, truth))) <= max(20, len(truth) // 20)


def _is_rescaled(values: Sequence[Any], truth: Sequence[Any]) -> bool:
    try:
        a, b = np.asarray(values, dtype=float), np.asarray(truth, dtype=float)
    except (TypeError, ValueError):
        return False
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 3 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
        return False
    return bool(abs(np.corrcoef(a[known], b[known])[0, 1]) > 1 - 1e-9)


def check_shared_rows(reference: Iterable[tuple[Any, ...]], held_out: Iterable[tuple[Any, ...]]) -> Check:
    """Whether held-out rows were seen in training, as far as the reference sample shows.

    Rows of few different values have twins by nature: as large a share as that of the sample's own rows is no sign.
    """
    label = "leakage: shared rows"
    seen, rows = Counter(reference), list(held_out)
    shared = sum(row in seen for row in rows)
    natural, allowance = _twins(seen)
    figures = {"shared": shared, "rows": len(rows), "twins_in_sample": natural}
    if shared <= (natural + allowance) * len(rows):
        return Check(
            label, passed=True, finding="held-out rows are not those of the training sample", figures=figures
        )
    finding = f"{shared} of {len(rows)} held-out rows are in the training sample, of whose rows {natural:.1%} occur twice"
    return Check(label, passed=False, finding=finding, figures=figures)


def _twins(seen: Counter[tuple[Any, ...]]) -> tuple[float, float]:
    """The share of some rows that occur more than once, and how much more chance or a few copies may make it."""
    rows = seen.total()
    if not rows:
        return 0.0, 0.01
    share = sum(count for count in seen.values() if count > 1) / rows
    return share, max(0.01, 3 * math.sqrt(share * (1 - share) / rows))


def check_fairness(
    groups: Sequence[Any], prediction: Sequence[Any], *, column: str, favourable: Any, max_gap: float
) -> Check:
    """Whether favourable answers are given about as often in every group large enough to tell."""
    label = f"fairness {column}"
    rates = _selection_rates(groups, [_class_of(favourable) == _class_of(answer) for answer in prediction])
    if len(rates) < 2:
        return Check(label, passed=None, finding=f"fewer than two groups of {FEWEST_ROWS} held-out rows")
    low, high = min(rates, key=lambda group: rates[group]), max(rates, key=lambda group: rates[group])
    gap = rates[high] - rates[low]
    finding = f"{favourable!r} is given to {rates[low]:.1%} of {low} and {rates[high]:.1%} of {high}; the gap may be {max_gap:.1%}"
    return Check(label, gap <= max_gap, finding, {"rates": rates, "gap": gap})


def _selection_rates(groups: Sequence[Any], selected: Sequence[bool]) -> dict[str, float]:
    members: dict[str, list[bool]] = {}
    for group, chosen in zip(groups, selected, strict=True):
        members.setdefault(str(group), []).append(chosen)
    return {
        group: sum(chosen) / len(chosen) for group, chosen in members.items() if len(chosen) >= FEWEST_ROWS
    }


def check_against_champion(candidate: Evaluation, champion: Evaluation, *, champion_name: str) -> Check:
    """Whether the candidate loses to the version in production on the same held-out rows.

    It loses when it is worse and chance does not explain it (one-sided, 5 %).
    """
    label = f"against {champion_name}"
    if len(candidate.truth) < 2:
        return Check(label, passed=None, finding="fewer than two held-out rows")
    compared = _compare(candidate, champion)
    lost = compared.p_value < LOST_BELOW
    what = "error rate" if candidate.is_classification else "mean squared error"
    verdict = "loses" if lost else "does not lose"
    finding = f"{verdict}: {what} {compared.candidate:.4g} against {compared.champion:.4g} on {compared.rows} rows (p = {compared.p_value:.3g})"
    return Check(label, not lost, finding, asdict(compared))


def _compare(candidate: Evaluation, champion: Evaluation) -> PairedLoss:
    if candidate.is_classification:
        return compare_errors(_wrong(candidate), _wrong(champion))
    return compare_losses(_squared_errors(candidate), _squared_errors(champion))


def _wrong(evaluation: Evaluation) -> list[bool]:
    return [
        _class_of(a) != _class_of(b) for a, b in zip(evaluation.truth, evaluation.prediction, strict=True)
    ]


def _class_of(label: Any) -> float | str:
    """What a label means: a file may hold 1.0 or "1" where the model answers 1."""
    try:
        number = float(label)
    except (TypeError, ValueError, OverflowError):
        return str(label)
    return str(label) if math.isnan(number) else number


def _squared_errors(evaluation: Evaluation) -> list[float]:
    return [(float(a) - float(b)) ** 2 for a, b in zip(evaluation.truth, evaluation.prediction, strict=True)]


def check_edge_case(number: int, expected: Any, found: Any, tolerance: float) -> Check:
    """Whether the answer to a stored edge case is still what it must be."""
    numbers = (
        isinstance(expected, int | float)
        and isinstance(found, int | float)
        and not isinstance(expected, bool)
    )
    right = math.isclose(expected, found, rel_tol=0, abs_tol=tolerance) if numbers else expected == found
    finding = "answered as it must be" if right else f"must be {expected!r}, is {found!r}"
    return Check(f"edge case {number}", right, finding)
