"""How each kind of channel is spoken to."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from app.alerts.egress import Egress, NotDeliveredError, read_target
from app.alerts.kinds import ChannelKind
from app.alerts.mail import MailServer
from app.alerts.signing import sign, signing_secrets
from app.alerts.trust import authorities
from app.alerts.wording import explanation, headline
from app.core import clock
from app.core.config import Settings
from app.core.errors import Refusal

PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
APPRISE_SECONDS = 30.0
_AS_JSON = {"Content-Type": "application/json", "User-Agent": "Switchyard"}
_LEVELS = {"critical": "failure", "warning": "warning", "info": "info"}


@dataclass(frozen=True)
class Letter:
    """A message and where it goes."""

    id: str
    kind: ChannelKind
    particulars: Mapping[str, Any]
    body: Mapping[str, Any]


class Post:
    """Sends letters, each in the way of its channel's kind."""

    def __init__(self, egress: Egress, mail: MailServer) -> None:
        self._egress = egress
        self._mail = mail
        self._ways = {
            ChannelKind.WEBHOOK: self._to_webhook,
            ChannelKind.SLACK: self._to_slack,
            ChannelKind.PAGERDUTY: self._to_pagerduty,
            ChannelKind.EMAIL: self._to_mailbox,
            ChannelKind.APPRISE: self._to_apprise,
        }

    @classmethod
    def configured(cls, settings: Settings) -> Self:
        """The one for this configuration."""
        return cls(Egress(settings.allowed_targets), MailServer.configured(settings))

    async def send(self, letter: Letter) -> None:
        """Send a letter once.

        Raises:
            NotDeliveredError: it did not arrive.
        """
        await self._ways[letter.kind](letter)

    async def _to_webhook(self, letter: Letter) -> None:
        content = json.dumps(letter.body, separators=(",", ":"), sort_keys=True).encode()
        stamp = int(clock.now().timestamp())
        secrets = signing_secrets(letter.particulars, stamp)
        signed = {
            "webhook-id": letter.id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": " ".join(sign(each, letter.id, stamp, content) for each in secrets),
        }
        await self._post_json(letter.particulars["url"], content, signed)

    async def _to_slack(self, letter: Letter) -> None:
        text = f"*{_for_slack(headline(letter.body))}*\n{_for_slack(explanation(letter.body))}"
        await self._post_json(letter.particulars["url"], json.dumps({"text": text}).encode())

    async def _to_pagerduty(self, letter: Letter) -> None:
        event = pagerduty_event(letter)
        await self._post_json(letter.particulars.get("url") or PAGERDUTY, json.dumps(event).encode())

    async def _to_mailbox(self, letter: Letter) -> None:
        subject, text = headline(letter.body), explanation(letter.body)
        await asyncio.to_thread(self._mail.send, letter.particulars["to"], subject, text, letter.id)

    async def _to_apprise(self, letter: Letter) -> None:
        level = _LEVELS.get(letter.body["data"].get("severity", "info"), "info")
        result = await ask_apprise(
            {
                "url": letter.particulars["url"],
                "allowed": list(map(str, self._egress.allowed)),
                "title": headline(letter.body),
                "body": explanation(letter.body),
                "level": "success" if letter.body["type"] == "incident.resolved" else level,
            }
        )
        if result["problem"]:
            raise NotDeliveredError(result["problem"], is_final=result["final"])

    async def _post_json(self, address: str, content: bytes, more: Mapping[str, str] | None = None) -> None:
        try:
            url = read_target(address, self._egress.allowed)
        except Refusal as refusal:
            raise NotDeliveredError(str(refusal), is_final=True) from None
        await self._egress.post(url, content, {**_AS_JSON, **(more or {})})


def _for_slack(text: str) -> str:
    """Text in which Slack sees no markup of its own (its documentation: "Escaping text")."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def pagerduty_event(letter: Letter) -> dict[str, Any]:
    """A letter in the words of PagerDuty's Events API v2; the fingerprint lets it join what is one incident."""
    data, body = letter.body["data"], letter.body
    event = {
        "routing_key": letter.particulars["routing_key"],
        "event_action": "resolve" if body["type"] == "incident.resolved" else "trigger",
        "dedup_key": data.get("fingerprint", letter.id),
    }
    return event | {
        "payload": {
            "summary": headline(body)[:1024],
            "source": data.get("subject", "switchyard"),
            "severity": data.get("severity", "info"),
            "timestamp": body["timestamp"],
            "custom_details": data,
        }
    }


async def ask_apprise(order: Mapping[str, Any]) -> dict[str, Any]:
    """Have a child process do what `apprise_child` can, within bounds.

    Raises:
        NotDeliveredError: it did not finish.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app.alerts.apprise_child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "REQUESTS_CA_BUNDLE": authorities(),
        },
    )
    try:
        async with asyncio.timeout(APPRISE_SECONDS):
            written, _ = await child.communicate(json.dumps(order).encode())
    except TimeoutError:
        raise NotDeliveredError(f"apprise did not finish within {APPRISE_SECONDS:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise NotDeliveredError("apprise broke off")
    result: dict[str, Any] = json.loads(written)
    return result
