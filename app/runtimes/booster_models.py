"""Models in the native files of XGBoost and LightGBM: both hold numbers and no code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.runtimes.errors import BrokenArtifact
from app.runtimes.frames import to_frame
from app.runtimes.rows import Rows
from app.runtimes.schema import Column, ColumnType, Label, Signature, Task, tensor_columns
from app.runtimes.scores import Model, Scores
from app.runtimes.structure import check_lightgbm, check_xgboost
from app.runtimes.traits import Traits, first_line, float_columns, json_safe, plain


def load_xgboost(path: Path) -> "XgboostModel":
    """The booster in a .ubj or .json file.

    Raises:
        BrokenArtifact: XGBoost is not installed, or can't read the file.
    """
    try:
        import xgboost  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BrokenArtifact("XGBoost is not installed here: install switchyard[xgboost]") from error
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(path.read_bytes()))
    except xgboost.core.XGBoostError as error:
        raise BrokenArtifact(f"XGBoost can't read the model: {_reason(error)}") from error
    return XgboostModel(booster)


def load_lightgbm(path: Path) -> "LightgbmModel":
    """The booster in a text file.

    Raises:
        BrokenArtifact: LightGBM is not installed, or can't read the file.
    """
    try:
        import lightgbm  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BrokenArtifact("LightGBM is not installed here: install switchyard[lightgbm]") from error
    text = path.read_text("utf-8", "replace")
    check_lightgbm(text)
    try:
        return LightgbmModel(lightgbm.Booster(model_str=text), _lightgbm_header(text))
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise BrokenArtifact(f"LightGBM can't read the model: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line and "Stack trace" not in line]
    return first_line(lines[0].rpartition(": ")[2]) if lines else type(error).__name__


def _lightgbm_header(text: str) -> dict[str, str]:
    lines = text.partition("\nTree=")[0].splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


class XgboostModel:
    """An XGBoost booster; its objective tells the task."""

    def __init__(self, booster: Any) -> None:
        self.booster = booster
        self.learner: dict[str, Any] = json.loads(booster.save_config())["learner"]
        self.objective: str = self.learner["objective"]["name"]

    def traits(self) -> Traits:
        """What the booster tells of itself."""
        names, width = self.booster.feature_names, int(self.booster.num_features())
        columns = _typed(names, self.booster.feature_types) if names else tensor_columns(width, nullable=True)
        count = max(2, int(self.learner["learner_model_param"]["num_class"]))
        is_classifier = self.objective.startswith(("binary:", "multi:"))
        gains = self.booster.get_score(importance_type="gain")
        return Traits(
            framework="xgboost",
            algorithm=self.learner["gradient_booster"]["name"],
            columns=columns,
            has_names=bool(names),
            task=Task.CLASSIFICATION if is_classifier else Task.REGRESSION,
            classes=tuple(range(count)) if is_classifier else None,
            parameters={"objective": self.objective, "num_boosted_rounds": self.booster.num_boosted_rounds()},
            importances=tuple(float(gains.get(key, 0.0)) for key in names or [f"f{i}" for i in range(width)]),
            tells_types=True,
        )

    def check_structure(self) -> None:
        """Check the children and features of every tree."""
        check_xgboost(self.booster)

    def serve(self, signature: Signature, *, labels_from_probabilities: bool = False) -> Model:
        """The booster, which gives probabilities in the first place."""
        del labels_from_probabilities
        best = self.booster.attr("best_iteration")
        trees = (0, int(best) + 1) if best is not None else (0, 0)
        return _Served(_XgboostPredict(self.booster, signature, trees), signature.classes)


def _typed(names: list[str], types: list[str] | None) -> tuple[Column, ...]:
    kinds = {"int": ColumnType.INTEGER, "i": ColumnType.BOOLEAN, "c": ColumnType.STRING}
    columns = zip(names, types or ["float"] * len(names), strict=True)
    return tuple(
        Column(name, kinds.get(kind, ColumnType.FLOAT), nullable=kind == "float") for name, kind in columns
    )


class _XgboostPredict:
    def __init__(self, booster: Any, signature: Signature, trees: tuple[int, int]) -> None:
        self._booster, self._signature, self._trees = booster, signature, trees

    def __call__(self, rows: Rows) -> NDArray[Any]:
        if rows.matrix is not None:
            answers = self._booster.inplace_predict(
                rows.matrix, iteration_range=self._trees, validate_features=False
            )
        else:
            import xgboost  # noqa: PLC0415

            frame = to_frame(rows, self._signature, categorical=True)
            data = xgboost.DMatrix(frame, enable_categorical=True, nthread=1)
            answers = self._booster.predict(data, iteration_range=self._trees)
        return np.asarray(answers)


class LightgbmModel:
    """A LightGBM booster; its objective tells the task."""

    def __init__(self, booster: Any, header: dict[str, str]) -> None:
        self.booster = booster
        self.objective = header.get("objective", "").split(" ")[0]
        self.class_count = int(header.get("num_class", "1"))

    def traits(self) -> Traits:
        """What the booster tells of itself."""
        names = self.booster.feature_name()
        has_names = names != [f"Column_{i}" for i in range(len(names))]
        is_classifier = self.objective in ("binary", "multiclass", "multiclassova", "cross_entropy")
        parameters = {name: json_safe(value) for name, value in self.booster.params.items()}
        return Traits(
            framework="lightgbm",
            algorithm=parameters.get("boosting", "gbdt"),
            columns=float_columns(names, nullable=True)
            if has_names
            else tensor_columns(len(names), nullable=True),
            has_names=has_names,
            task=Task.CLASSIFICATION if is_classifier else Task.REGRESSION,
            classes=tuple(range(max(2, self.class_count))) if is_classifier else None,
            parameters=parameters,
            importances=tuple(map(float, self.booster.feature_importance("gain"))),
            tells_types=not self.booster.pandas_categorical,
        )

    def check_structure(self) -> None:
        """Nothing is left to check: LightGBM reads only text that was checked before."""

    def serve(self, signature: Signature, *, labels_from_probabilities: bool = False) -> Model:
        """The booster, which gives probabilities in the first place."""
        del labels_from_probabilities

        def predict(rows: Rows) -> NDArray[Any]:
            table = rows.matrix if rows.matrix is not None else to_frame(rows, signature, categorical=True)
            return np.asarray(self.booster.predict(table, num_threads=1))

        return _Served(predict, signature.classes)


class _Served:
    def __init__(self, predict: Any, classes: tuple[Label, ...] | None) -> None:
        self._predict = predict
        self._classes = classes

    def score(self, rows: Rows) -> Scores:
        answers = self._predict(rows)
        if self._classes is None:
            return Scores(plain(answers))
        if answers.ndim == 1:
            answers = np.column_stack([1 - answers, answers])
        probabilities = answers.astype(np.float64, copy=False)
        return Scores(
            [self._classes[i] for i in probabilities.argmax(axis=1).tolist()], probabilities, self._classes
        )
