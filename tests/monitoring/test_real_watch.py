"""M2, M9: a real stream through the spool, the log and the monitors, at the times in the data."""

import pytest

from app.core import clock
from tests.monitoring.real_streams import DATA, STREAMS, Replay
from tests.monitoring.real_watch import Watched

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data are not beside the project, at {DATA.name}"),
]


async def test_a_client_a_minute_in_any_order_raises_no_alarm(database, tmp_path, monkeypatch):
    """Five rows in five minutes, of columns in which some values are rare; four hundred windows."""

    def move(moment):
        monkeypatch.setattr(clock, "now", lambda: moment)

    watched = Watched(database, tmp_path, move, Replay(STREAMS["credit_default"]()))
    await watched.begin()
    await watched.live(days=2)
    assert await watched.facts() == []
    assert await watched.alarms() == []
    looked = await watched.rows("SELECT count(*) FROM drift_verdict")
    labelled = await watched.rows("SELECT sum(labelled) FROM live_outcome WHERE minutes = 5")
    assert looked[0][0] > 400
    assert labelled[0][0] > 2000
