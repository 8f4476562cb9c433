"""Incidents in words, for channels that people read."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

_SIDES = {"above": "more than", "below": "less than"}


def headline(body: Mapping[str, Any]) -> str:
    """What a message says in a line.

    >>> headline({"type": "incident.opened", "data": {"severity": "critical", "rule": "latency", "subject": "model:churn"}})
    'CRITICAL latency: model:churn'
    """
    data = body["data"]
    if body["type"] == "incident.test":
        return "Test of an alert channel"
    word = "RESOLVED" if body["type"] == "incident.resolved" else str(data["severity"]).upper()
    return f"{word} {data['rule']}: {data['subject']}"


def explanation(body: Mapping[str, Any]) -> str:
    """What a message says below its headline."""
    data = body["data"]
    if body["type"] == "incident.test":
        return f"{data['asked_by']} asked whether the channel {data['channel']} works. It does."
    lines = [f"{data['signal']} is {data['value']:g}" + _limit(data), f"since {data['opened_at']}"]
    if body["type"] == "incident.resolved":
        who = f"by {data['resolved_by']}" if data["resolved_by"] else "by itself"
        lines.append(f"resolved at {data['resolved_at']} {who}" + _noted(data["resolve_note"]))
    lines += [_in_words(name, value) for name, value in data["evidence"].items()]
    return "\n".join([*lines, f"more: GET /api/system/incidents/{data['incident_id']}"])


def _in_words(name: str, value: Any) -> str:
    """One piece of evidence as a line, or a line for each change.

    >>> _in_words("window_seconds", 5400), _in_words("features_to_look_at", ["age", "income"]), _in_words("version", 3)
    ('in the last 1:30:00', 'look first at: age, income', 'version: 3')
    """
    if name == "window_seconds":
        return f"in the last {timedelta(seconds=value)}"
    if name == "value_is":
        return f"the value is {value}"
    if name == "changes":
        return "\n".join(f"changed: {each}" for each in value)
    told = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{'look first at' if name == 'features_to_look_at' else name}: {told}"


def _limit(data: Mapping[str, Any]) -> str:
    return f" (the rule minds {_SIDES[data['comparison']]} {data['threshold']:g})"


def _noted(note: str | None) -> str:
    return f": {note}" if note else ""
