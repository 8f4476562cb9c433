"""The monitor on real data: it alarms where things changed, and is silent where they did not."""

from datetime import date

import pytest

from tests.monitoring.real_streams import DATA, STREAMS, Replay

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data are not beside the project, at {DATA.name}"),
]


def replay(name):
    return Replay(STREAMS[name]()).run()


def days(told, alarms):
    return [told.starts[last].date() for last, *_ in alarms]


def test_traffic_with_its_season_is_silent_until_the_incident_and_after_it():
    """Two years and nine months, less a gap of ten months; then hardly anybody drove on a weekend of July 2016."""
    told = replay("metro_traffic")
    found = days(told, told.drift)
    assert found
    assert {(day.year, day.month) for day in found} == {(2016, 7)}
    assert date(2016, 7, 22) <= found[0] <= date(2016, 7, 25)


def test_prices_that_were_constant_and_now_move_are_drift_and_cost_accuracy():
    """The market was joined to its neighbour's in May 1997; the model is at its worst in March 1998, and recovers."""
    told = replay("elec2")
    joined = [
        day
        for day, (*_, names) in zip(days(told, told.drift), told.drift, strict=True)
        if "transfer" in names
    ]
    assert date(1997, 5, 1) <= joined[0] <= date(1997, 5, 8)
    assert not [day for day in days(told, told.drift) if day < date(1997, 3, 1)]
    fallen = days(told, told.fallen)
    assert fallen[0] >= date(1997, 6, 1)
    assert sum(day.year == 1998 and day.month in (2, 3, 4) for day in fallen) >= 5
    assert max(fallen) < date(1998, 6, 1)


def test_growth_that_no_input_shows_is_found_by_the_errors_alone():
    """Twice as many bicycles in 2012 in the same weather: the inputs hardly drift, the error does at once."""
    told = replay("bike_uci")
    assert days(told, told.fallen)[0] <= date(2012, 1, 31)
    months = {day.month for day in days(told, told.fallen)}
    assert months == set(range(1, 13))


def test_clients_in_any_order_are_no_stream_that_drifts():
    told = replay("credit_default")
    assert (told.drift, told.fallen) == ([], [])
