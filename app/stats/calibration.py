"""What a score means in chances: learnt from labelled rows, and corrected by the labels that have arrived since."""

from dataclasses import dataclass, field, replace
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from app.stats.intervals import require

Floats = NDArray[np.float64]

GROUPS = 10
NEWTON_STEPS = 25  # of at most 1 in log-odds, on a concave function: the last ones change nothing
MISFIT = 0.05  # significance at which a model's own probabilities are no longer taken at their word
PRIOR_SHIFT = (
    0.5  # log-odds: how far a calibration is expected to move; so many labels as know it better outweigh it
)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Chances by score: constant on blocks of scores, or the scores themselves where these are as good.

    Attributes:
        starts: the least score of each block but the first, ascending, shape (blocks - 1,).
        chances: the share of positives in each block, ascending, shape (blocks,).
        rows: labelled rows in each block, shape (blocks,).
        is_identity: whether scores are taken as chances; the blocks then say how well that is known.
        gaps: by how much the share of positives in each block exceeded its chance, where scores are taken as chances all
            the same: what the labelled rows say, though it is no proof; shape (blocks,), empty where there are none.
        learnt: the block of each labelled row, in their order; empty where nobody knows.
        shift: log-odds by which labels that arrived later moved all chances.
        shift_error: its standard error.
    """

    starts: Floats
    chances: Floats
    rows: Floats
    is_identity: bool = False
    gaps: Floats = field(default_factory=lambda: np.empty(0))
    learnt: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    shift: float = 0.0
    shift_error: float = 0.0

    def blocks_of(self, scores: Floats) -> NDArray[np.intp]:
        """The block of each score."""
        return np.searchsorted(self.starts, scores, side="right")

    def apply(self, scores: ArrayLike) -> Floats:
        """The chance that each row is positive, in [0, 1].

        Raises:
            ValueError: a score is no number, or outside [0, 1] where scores are chances.
        """
        values = _scores(scores)
        if self.is_identity and ((values < 0) | (values > 1)).any():
            raise ValueError("a probability lies between 0 and 1")
        chances = values if self.is_identity else self.chances[self.blocks_of(values)]
        return chances if not self.shift else special.expit(special.logit(chances) + self.shift)

    @property
    def smoothed(self) -> Floats:
        """Each block's chance with half a row of either kind added, so that none is certain."""
        smooth: Floats = (self.chances * self.rows + 0.5) / (self.rows + 1)
        return smooth


def fit_isotonic(scores: ArrayLike, is_positive: ArrayLike) -> Calibration:
    """The best ascending step function from score to chance, by pooling adjacent violators.

    Zadrozny and Elkan, KDD 2002, section 3; the algorithm is Busing's (J. Stat. Softw. 102, 2022), linear in the rows.

    Args:
        scores: shape (rows,), of rows that the model was not trained on.
        is_positive: booleans, shape (rows,): what came true.

    >>> fitted = fit_isotonic([0.1, 0.2, 0.3, 0.4] * 10, [False, True, False, True] * 10)
    >>> fitted.chances.tolist(), fitted.starts.tolist(), fitted.apply([0.0, 0.25, 0.9]).tolist()
    ([0.0, 0.5, 1.0], [0.2, 0.4], [0.0, 0.5, 1.0])

    Raises:
        TooLittleData: fewer than `MINIMUM` rows of a class.
        ValueError: a score is no finite number, or the lengths differ.
    """
    from scipy.optimize import isotonic_regression  # noqa: PLC0415 - heavy, and not needed to start the service

    values, positive = _labelled(scores, is_positive)
    distinct, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    shares = np.bincount(place, positive) / counts
    fitted = isotonic_regression(shares, weights=counts)
    first, last = fitted.blocks[:-1], fitted.blocks[1:]
    ends = np.append(0, counts.cumsum())
    learnt = np.repeat(np.arange(len(first)), last - first)[place]
    rows = (ends[last] - ends[first]).astype(np.float64)
    return Calibration(distinct[first[1:]], fitted.x[first], rows, learnt=learnt)


def calibrate(probabilities: ArrayLike, is_positive: ArrayLike) -> Calibration:
    """A model's probabilities as they are while labelled rows don't contradict them; isotonic from then on.

    Recalibrating what is calibrated only adds noise (NannyML, "Estimation of performance of the monitored model",
    calibrates where it helps). The contradiction is tested on ten groups of equal size (Hosmer and Lemeshow, Commun. Stat. A 9, 1980).

    Args:
        probabilities: shape (rows,), of rows that the model was not trained on.
        is_positive: booleans, shape (rows,): what came true.

    >>> generator = np.random.default_rng(1)
    >>> scores, draws = generator.random(5000), generator.random(5000)
    >>> calibrate(scores, draws < scores).is_identity, calibrate(scores, draws < scores**2).is_identity
    (True, False)

    Raises:
        TooLittleData: fewer than `MINIMUM` rows of a class.
        ValueError: a probability is none, or the lengths differ.
    """
    values, positive = _labelled(probabilities, is_positive)
    if ((values < 0) | (values > 1)).any():
        raise ValueError("a probability lies between 0 and 1")
    group, number = _groups(values)
    if _misfit(values, positive, group, number) < MISFIT:
        return fit_isotonic(values, positive)
    rows = np.bincount(group, minlength=number).astype(np.float64)
    starts = np.array([values[group == k].min() for k in range(1, number)])
    chances, shares = (np.bincount(group, column) / rows for column in (values, positive))
    return Calibration(starts, chances, rows, is_identity=True, gaps=shares - chances, learnt=group)


def _groups(values: Floats) -> tuple[NDArray[np.intp], int]:
    cuts = np.unique(np.quantile(values, np.arange(1, GROUPS) / GROUPS, method="inverted_cdf"))
    _, group = np.unique(np.searchsorted(cuts, values, side="left"), return_inverse=True)
    return group, int(group.max()) + 1


def _misfit(values: Floats, positive: NDArray[np.bool_], group: NDArray[np.intp], number: int) -> float:
    """How likely the groups' positives would be so far from the sum of their probabilities, were these right."""
    gaps = np.bincount(group, positive - values, minlength=number)
    spread = np.bincount(group, values * (1 - values), minlength=number).clip(1e-9)
    return float(special.chdtrc(number, (gaps**2 / spread).sum()))


def correct(calibration: Calibration, scores: ArrayLike, is_positive: ArrayLike) -> Calibration:
    """A calibration moved, in log-odds, by the labels that have arrived for some rows of the window.

    The shift is the most likely one under a normal prior of deviation `PRIOR_SHIFT` around none (penalised logistic
    regression with the old log-odds as offset: Steyerberg, Clinical Prediction Models, 2nd ed. 2019, section 20.3): a handful of labels hardly moves it, hundreds do.
    The labelled rows must be like those that still wait for their labels.

    Args:
        calibration: from the reference.
        scores: of the labelled rows, shape (rows,); there may be none.
        is_positive: booleans, shape (rows,): what came true.

    >>> told = Calibration(np.array([]), np.array([0.5]), np.array([1000.0]))
    >>> [round(float(correct(told, [0.0] * n, [True] * n).apply([0.0])[0]), 2) for n in (0, 2, 200)]
    [0.5, 0.56, 0.94]

    Raises:
        ValueError: a score is no finite number, or the lengths differ.
    """
    values, positive = _scores(scores), np.asarray(is_positive, np.bool_)
    if values.shape != positive.shape:
        raise ValueError("a label for each score is needed")
    if not len(values):
        return calibration
    odds, shift = special.logit(calibration.apply(values).clip(1e-6, 1 - 1e-6)), 0.0
    for _ in range(NEWTON_STEPS):
        chances = special.expit(odds + shift)
        known = float((chances * (1 - chances)).sum())
        step = (float((positive - chances).sum()) - shift / PRIOR_SHIFT**2) / (known + 1 / PRIOR_SHIFT**2)
        shift += max(-1.0, min(1.0, step))
    error = sqrt(known) / (known + 1 / PRIOR_SHIFT**2)
    return replace(calibration, shift=calibration.shift + shift, shift_error=error)


def _labelled(scores: ArrayLike, is_positive: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values, positive = _scores(scores), np.asarray(is_positive, np.bool_)
    if values.shape != positive.shape:
        raise ValueError("a label for each score is needed")
    require("rows of the positive class", int(positive.sum()), len(positive))
    require("rows of the negative class", int((~positive).sum()), len(positive))
    return values, positive


def _scores(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("scores are a vector of finite numbers")
    return values
