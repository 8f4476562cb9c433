"""scikit-learn models as ONNX: only where the stored sample proves them equal (R4, D12)."""

from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from app.runtimes.errors import NotConvertible
from app.runtimes.formats import detect_format
from app.runtimes.loading import load_model
from app.runtimes.onnx import TOLERANCE, Conversion
from app.runtimes.probe import Prober
from app.runtimes.reports import ProbeReport
from app.runtimes.rows import parse_rows
from app.runtimes.schema import Signature
from tests.runtimes.fitted import fitted, parquet, wine


async def convert(prober: Prober, directory: Path, report: ProbeReport) -> Conversion:
    return await prober.convert(directory, signature=report.signature, sample_input=report.sample_input)


@pytest.mark.parametrize(
    "name",
    [
        "logistic regression",
        "random forest",
        "gradient boosting",
        "ridge",
        "one-hot pipeline",
        "support vectors",
        "isolation forest",
    ],
)
async def test_an_equal_conversion_is_served_with_equal_answers(
    name: str, tmp_path: Path, prober: Prober
) -> None:
    one = fitted(name)
    one.write(tmp_path)
    report = await prober.probe(tmp_path, sample=one.sample)
    conversion = await convert(prober, tmp_path, report)
    assert conversion.rows == 100
    assert conversion.largest_difference <= TOLERANCE
    assert conversion.speed_up > 0
    converted = tmp_path / "converted"
    converted.mkdir()
    (converted / "model.onnx").write_bytes(conversion.model)
    signature = Signature.from_json(report.signature)
    model = load_model(detect_format(converted), signature)
    rows = parse_rows({"instances": report.sample_input}, signature, max_rows=100)
    scores = model.score(rows)
    stored = report.sample_output
    if stored["probabilities"] is None:
        assert scores.prediction == pytest.approx(stored["predictions"], rel=1e-5)
    else:
        assert scores.prediction == stored["predictions"]
        np.testing.assert_allclose(scores.probabilities, stored["probabilities"], atol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("native categories", "splits by category"),
        ("histogram boosting", "float32 can't carry exactly"),
        ("ordinal pipeline", "StandardScaler computes"),
        ("xgboost", "only scikit-learn models"),
    ],
)
async def test_a_conversion_that_is_known_to_go_wrong_is_refused(
    name: str, reason: str, tmp_path: Path, prober: Prober
) -> None:
    one = fitted(name)
    one.write(tmp_path)
    report = await prober.probe(tmp_path, sample=one.sample)
    with pytest.raises(NotConvertible, match=reason):
        await convert(prober, tmp_path, report)


async def test_histogram_boosting_over_exact_floats_is_converted(tmp_path: Path, prober: Prober) -> None:
    table, y = wine()
    table = table.astype(np.float32).astype(np.float64)
    skops.io.dump(HistGradientBoostingClassifier(max_iter=10).fit(table, y), tmp_path / "model.skops")
    report = await prober.probe(tmp_path, sample=parquet(table))
    assert (await convert(prober, tmp_path, report)).largest_difference <= TOLERANCE


async def test_trees_behind_arithmetic_are_refused(tmp_path: Path, prober: Prober) -> None:
    table, y = wine()
    model = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)).fit(table, y)
    skops.io.dump(model, tmp_path / "model.skops")
    report = await prober.probe(tmp_path, sample=parquet(table))
    with pytest.raises(NotConvertible, match="StandardScaler"):
        await convert(prober, tmp_path, report)


async def test_a_proof_needs_more_than_a_made_up_row(tmp_path: Path, prober: Prober) -> None:
    fitted("ridge").write(tmp_path)
    report = await prober.probe(tmp_path)
    with pytest.raises(NotConvertible, match="needs 10"):
        await convert(prober, tmp_path, report)


def test_a_conversion_survives_its_way_out_of_the_child() -> None:
    conversion = Conversion(b"\0model", 100, 1e-7, 5.0)
    assert Conversion.from_json(conversion.to_json()) == conversion
