"""What a test of a hostile file checks each time."""

from pathlib import Path

import pytest

from app.core.errors import Refusal
from app.runtimes.probe import Prober
from tests.runtimes.fitted import fitted


async def refused(
    prober: Prober, directory: Path, kind: type[Refusal] | tuple[type[Refusal], ...]
) -> Refusal:
    """The refusal of a hostile file, after which a good one is still taken."""
    with pytest.raises(kind) as refusal:
        await prober.probe(directory)
    assert refusal.value.status == 422
    assert str(directory) not in str(refusal.value)
    assert "Traceback" not in str(refusal.value)
    good = directory / "good"
    good.mkdir()
    fitted("ridge").write(good)
    assert (await prober.probe(good)).algorithm == "Ridge"
    return refusal.value
