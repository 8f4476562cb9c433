"""A child process that hands one message to apprise: `python -m app.alerts.apprise_child`, told what to do on stdin.

Apprise speaks to a hundred services, over whatever library suits each. So the rules of the way out are kept below all of
them, by an audit hook (PEP 578) that sees every connection with the address that it is really made to. The child has no
environment but whom to trust, little memory, and is killed when it takes too long; secrets come on stdin, not in its arguments.

Some of its services are on this machine (its system log, a desktop, a light on USB), reached by C libraries that no audit
hook sees. They are told by their addresses, which can do without a recipient; and what made no connection was not delivered.
"""

import ipaddress
import json
import logging
import re
import resource
import sys
from typing import Any

from app.alerts.addresses import is_allowed
from app.alerts.trust import say_mistrust

MEMORY_BYTES = 1024 * 1024 * 1024
CPU_SECONDS = 20
_STATUS = re.compile(r"error=(\d{3})")
_MISTRUST = re.compile(r"certificate verify failed: ([^()]+)")
_CONNECTIONS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_SYSTEM_LOG = frozenset({"syslog.openlog", "syslog.syslog"})
_WITHOUT_RECIPIENT = "{schema}://"
_PROGRAMS = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"})


class Watch(logging.Handler):
    """What goes on below apprise: which addresses were refused, what status it was answered, whom it does not trust."""

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._allowed = [ipaddress.ip_network(network) for network in allowed]
        self.refused: str | None = None
        self.status: str | None = None
        self.mistrust: str | None = None
        self.has_connected = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the reason out of apprise's own words, and nothing else of them: they may hold secrets."""
        said = record.getMessage()
        if found := _STATUS.search(said):
            self.status = found[1]
        if found := _MISTRUST.search(said):
            self.mistrust = found[1]

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Refuse a connection that is not allowed, every other program, and this machine's own log."""
        if event in _PROGRAMS or event in _SYSTEM_LOG:
            raise PermissionError("nothing but the network")
        if event not in _CONNECTIONS:
            return
        if not self._may_connect(arguments[1]):
            self.refused = str(arguments[1][0]) if isinstance(arguments[1], tuple) else "a local socket"
            raise PermissionError("this address is not allowed")
        self.has_connected = True

    def _may_connect(self, place: Any) -> bool:
        if not isinstance(place, tuple):
            return False
        try:
            return is_allowed(ipaddress.ip_address(place[0]), self._allowed)
        except ValueError:  # a name: whoever connects to one looks it up out of our sight
            return False

    def problem(self) -> str:
        """Why a message did not arrive."""
        if self.refused:
            return f"{self.refused} is not a public address; SWITCHYARD_ALLOWED_TARGETS can allow its network"
        if self.mistrust:
            return say_mistrust(self.mistrust, "the host's")
        if self.status:
            return f"answered {self.status}"
        return (
            "apprise could not deliver it"
            if self.has_connected
            else "apprise made no connection to send it over"
        )


def why_no_channel(service: Any) -> str | None:
    """Why a service of apprise can be no channel; None of one that is reached over the network."""
    if _WITHOUT_RECIPIENT in service.templates:
        return (
            f"{service.service_name} is on the machine that sends, not on the network: nobody would be told. "
            "Name a service that is reached over the network; Syslog on another host is rsyslog://host"
        )
    return None


def deliver(order: dict[str, Any]) -> dict[str, Any]:
    """Do what an order says: check an address, or send to it."""
    import apprise  # noqa: PLC0415 - only this child pays for it

    logger = logging.getLogger("apprise")
    logger.addHandler(watch := Watch(order["allowed"]))
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    asset = apprise.AppriseAsset(
        app_id="Switchyard",
        app_desc="Switchyard",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        image_path_mask="",
        http_redirects=False,
        secure_logging=True,
    )
    target = apprise.Apprise.instantiate(order["url"], asset=asset, suppress_exceptions=True)
    if target is None:
        return {"problem": "apprise does not understand this address", "final": True}
    if problem := why_no_channel(target):
        return {"problem": problem, "final": True}
    if "body" not in order:
        return {"problem": None, "service": str(target.service_name)}
    sys.addaudithook(watch.hear)
    told = target.notify(title=order["title"], body=order["body"], notify_type=order["level"])
    sent = told and watch.has_connected
    return {"problem": None if sent else watch.problem(), "final": watch.refused is not None}


def main() -> None:
    """Read one order, write one result."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    sys.stdout.write(json.dumps(deliver(json.loads(sys.stdin.read()))))


if __name__ == "__main__":
    main()
