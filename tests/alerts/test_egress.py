"""M12: what alerts may connect to, and how little of an answer they take."""

import asyncio
from ipaddress import ip_address, ip_network

import httpx
import pytest

from app.alerts.addresses import is_allowed
from app.alerts.egress import Egress, NotDeliveredError, read_target
from app.alerts.errors import TargetRefused
from app.alerts.kinds import ChannelKind
from app.alerts.mail import MailServer
from app.alerts.senders import Letter, Post
from app.core.errors import FieldProblem
from tests.alerts.certificates import ELSEWHERE, LOOPBACK, server_context
from tests.alerts.conftest import answer

HERE = [ip_network("127.0.0.0/8")]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
    ],
)
def test_an_address_that_is_not_public_is_refused_in_whatever_form(address):
    assert not is_allowed(ip_address(address))


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700::1111", "::ffff:93.184.215.14"])
def test_a_public_address_is_allowed(address):
    assert is_allowed(ip_address(address))


def test_a_network_that_the_configuration_names_is_allowed_and_no_other():
    assert is_allowed(ip_address("10.1.2.3"), [ip_network("10.1.0.0/16")])
    assert not is_allowed(ip_address("10.2.2.3"), [ip_network("10.1.0.0/16")])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:9/",
        "http://[::1]/",
        "http://api.localhost/",
        "http://localhost./",
    ],
)
def test_a_target_on_this_machine_is_refused_when_the_channel_is_made(url):
    with pytest.raises(TargetRefused):
        read_target(url)


@pytest.mark.parametrize(
    "url", ["ftp://example.org/", "https:///x", "no address", "https://exa mple.org", "file:///etc"]
)
def test_what_is_no_address_over_http_is_refused(url):
    with pytest.raises(FieldProblem):
        read_target(url)


async def test_the_way_out_is_refused_where_a_name_leads_to_this_machine(receiver, monkeypatch):
    """What a name resolves to is checked and then connected to; it is never looked up a second time."""
    asked = []

    async def resolve(_host, port, **_options):
        asked.append(_host)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
    with pytest.raises(NotDeliveredError, match="not a public address") as caught:
        await Egress().post(httpx.URL(f"http://rebound.example:{receiver.port}/"), b"{}", {})
    assert caught.value.failure.is_final
    assert receiver.received == []
    assert asked == ["rebound.example"]


async def test_one_look_up_serves_the_check_and_the_connection(receiver, monkeypatch):
    asked = []

    async def resolve(host, port, **_options):
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
    await Egress(HERE).post(httpx.URL(f"http://hooks.example:{receiver.port}/x?y=1"), b"{}", {})
    [sent] = receiver.received
    assert (sent.path, sent.headers["host"]) == ("/x?y=1", f"hooks.example:{receiver.port}")
    assert asked.count("hooks.example") == 1


async def test_a_receiver_that_never_answers_is_left(receiver):
    receiver.hangs = True
    with pytest.raises(NotDeliveredError, match="no answer within"):
        await Egress(HERE, seconds=0.2).post(httpx.URL(receiver.url), b"{}", {})


async def test_an_endless_answer_is_not_read(receiver):
    receiver.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n" + b"x" * 100_000]
    await Egress(HERE).post(httpx.URL(receiver.url), b"{}", {})


async def test_an_answer_that_is_no_http_is_a_failure(receiver):
    receiver.answers = [b"SSH-2.0-OpenSSH\r\n\r\n"]
    with pytest.raises(NotDeliveredError, match="the connection broke"):
        await Egress(HERE).post(httpx.URL(receiver.url), b"{}", {})


async def test_a_closed_port_is_a_failure_that_tells_nothing_of_the_address():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(NotDeliveredError, match="can't be connected to") as caught:
        await Egress(HERE).post(httpx.URL(f"http://127.0.0.1:{port}/secret"), b"{}", {})
    assert "secret" not in str(caught.value)


async def test_an_odd_retry_after_is_not_believed(receiver):
    receiver.answers = [answer(503, "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT")]
    with pytest.raises(NotDeliveredError) as caught:
        await Egress(HERE).post(httpx.URL(receiver.url), b"{}", {})
    assert caught.value.failure.asked_seconds == 0


async def test_a_password_is_not_sent_to_a_mail_server_that_offers_no_encryption(mailbox):
    server = MailServer("127.0.0.1", mailbox.port, False, "a@example.org", user="me", password="secret")
    with pytest.raises(NotDeliveredError, match="no encryption"):
        await asyncio.to_thread(server.send, ["b@example.org"], "s", "t", "id")
    assert mailbox.mails == []


@pytest.fixture
async def over_tls(receiver, authority, tmp_path, exits):
    """Have the receiver speak TLS, with a certificate for some names; its address."""

    async def start(names):
        context = server_context(authority, tmp_path, names)
        server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
        exits.callback(server.close)
        return httpx.URL(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook")

    return start


async def test_a_receiver_with_a_certificate_of_a_trusted_authority_is_told(trusted, over_tls, receiver):
    await Egress(HERE).post(await over_tls(LOOPBACK), b"{}", {})
    assert [sent.path for sent in receiver.received] == ["/hook"]


async def test_a_receiver_with_a_certificate_of_another_host_is_not_told(trusted, over_tls, receiver):
    with pytest.raises(
        NotDeliveredError, match="host's certificate is not to be trusted: IP address mismatch"
    ):
        await Egress(HERE).post(await over_tls(ELSEWHERE), b"{}", {})
    assert receiver.received == []


async def test_a_receiver_that_nobody_vouches_for_is_not_told_and_the_way_out_is_named(over_tls, receiver):
    with pytest.raises(NotDeliveredError, match=r"local issuer certificate .SSL_CERT_FILE"):
        await Egress(HERE).post(await over_tls(LOOPBACK), b"{}", {})
    assert receiver.received == []


async def test_what_apprise_speaks_over_tls_trusts_the_same_authorities(
    trusted, over_tls, receiver, letter_by_apprise
):
    await letter_by_apprise(await over_tls(LOOPBACK))
    assert [sent.path for sent in receiver.received] == ["/hook"]


@pytest.mark.parametrize(
    ("names", "reason"), [(ELSEWHERE, "IP address mismatch"), (LOOPBACK, "local issuer certificate")]
)
async def test_apprise_tells_why_it_does_not_trust(
    names, reason, request, over_tls, receiver, letter_by_apprise
):
    if names is ELSEWHERE:
        request.getfixturevalue("trusted")
    with pytest.raises(NotDeliveredError, match=f"the host's certificate is not to be trusted: .*{reason}"):
        await letter_by_apprise(await over_tls(names))
    assert receiver.received == []


@pytest.fixture
def letter_by_apprise(settings):
    """Send one to an address, by apprise."""
    here = settings.model_copy(update={"allowed_targets": tuple(HERE)})

    async def send(url):
        told = {
            "type": "incident.test",
            "timestamp": "2025-03-01T12:00:00Z",
            "data": {"channel": "c", "asked_by": "ada"},
        }
        address = {"url": str(url.copy_with(scheme="jsons"))}
        await Post.configured(here).send(Letter("id", ChannelKind.APPRISE, address, told))

    return send
