"""M12: mail over TLS, to a server on this machine whose certificate comes from an authority of its own."""

import asyncio
import warnings

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from pydantic import SecretStr

from app.alerts.channels import test_channel as send_test
from app.alerts.jobs import job_handlers
from app.alerts.kinds import ChannelKind
from tests.alerts.certificates import ELSEWHERE, LOOPBACK, server_context
from tests.alerts.conftest import Mailbox
from tests.alerts.test_deliveries import deliveries
from tests.conftest import TESTER

IMPLICIT, UPGRADED = "smtps", "smtp"


@pytest.fixture
async def serve(authority, tmp_path, exits):
    """Start a mail server; where it is, and what it got."""

    async def start(way, *, names=LOOPBACK, password=None, encrypts=True, **options):
        mailbox, context = Mailbox(), server_context(authority, tmp_path, names)
        starts = context if way == UPGRADED and encrypts else None

        def let_in(_server, _session, _envelope, _mechanism, data):
            is_known = data.login == b"alerts@x" and data.password == password
            return AuthResult(success=is_known, handled=False)

        options |= {"tls_context": starts, "require_starttls": starts is not None}
        if password is not None:
            options |= {
                "authenticator": let_in,
                "auth_required": True,
                "auth_require_tls": starts is not None,
            }

        def speak():
            with (
                warnings.catch_warnings()
            ):  # of passwords without STARTTLS: encrypted from the start, or never sent
                warnings.simplefilter("ignore")
                return SMTP(mailbox, hostname="localhost", **options)

        server = await asyncio.get_running_loop().create_server(
            speak, "127.0.0.1", 0, ssl=context if way == IMPLICIT else None
        )
        exits.callback(server.close)
        mailbox.port = server.sockets[0].getsockname()[1]
        return mailbox

    return start


@pytest.fixture
async def tell(worker, add_channel, settings, database):
    """Send a message over the mail server of an address; how its delivery went, as people see it."""

    async def deliver(address):
        said = settings.model_copy(update={"smtp_url": SecretStr(address)})
        worker.handlers = dict(job_handlers(said))
        await add_channel("mail", ChannelKind.EMAIL, to=["a@example.org"])
        async with database.writes(TESTER) as session:
            await send_test(session, "mail")
        await worker.work_off()
        [delivery] = await deliveries(worker)
        return delivery["state"], delivery["last_error"]

    return deliver


@pytest.mark.parametrize("way", [UPGRADED, IMPLICIT])
async def test_mail_travels_encrypted_to_a_server_that_is_trusted(trusted, serve, tell, way):
    mailbox = await serve(way)
    assert await tell(f"{way}://127.0.0.1:{mailbox.port}") == ("delivered", None)
    assert len(mailbox.mails) == 1  # a server that wants encryption took it


@pytest.mark.parametrize("way", [UPGRADED, IMPLICIT])
async def test_a_certificate_of_another_host_is_refused(trusted, serve, tell, way):
    mailbox = await serve(way, names=ELSEWHERE)
    state, error = await tell(f"{way}://127.0.0.1:{mailbox.port}")
    assert (state, mailbox.mails) == ("queued", [])
    assert error.startswith("the mail server's certificate is not to be trusted: IP address mismatch")


@pytest.mark.parametrize("way", [UPGRADED, IMPLICIT])
async def test_a_certificate_that_nobody_vouches_for_is_refused(serve, tell, way):
    mailbox = await serve(way)
    state, error = await tell(f"{way}://127.0.0.1:{mailbox.port}")
    assert (state, mailbox.mails) == ("queued", [])
    assert "not to be trusted: unable to get local issuer certificate" in error
    assert "SSL_CERT_FILE" in error


@pytest.mark.parametrize("way", [UPGRADED, IMPLICIT])
async def test_a_password_travels_encrypted(trusted, serve, tell, way):
    mailbox = await serve(way, password=b"p@ss")
    assert await tell(f"{way}://alerts%40x:p%40ss@127.0.0.1:{mailbox.port}") == ("delivered", None)


@pytest.mark.parametrize("way", [UPGRADED, IMPLICIT])
async def test_a_wrong_password_is_told_without_it(trusted, serve, tell, way):
    mailbox = await serve(way, password=b"p@ss")
    state, error = await tell(f"{way}://alerts%40x:hidden@127.0.0.1:{mailbox.port}")
    assert (state, mailbox.mails) == ("queued", [])
    assert error == "the mail server answered 535: it does not take this user's password"


async def test_a_password_is_not_sent_to_a_server_that_does_not_encrypt(serve, tell):
    mailbox = await serve(UPGRADED, password=b"p@ss", encrypts=False)
    state, error = await tell(f"smtp://alerts%40x:p%40ss@127.0.0.1:{mailbox.port}")
    assert (state, mailbox.mails) == ("given_up", [])
    assert "offers no encryption" in error


async def test_encryption_from_the_start_is_not_given_up_for_a_server_without_it(serve, tell):
    mailbox = await serve(UPGRADED, encrypts=False)
    state, error = await tell(f"smtps://127.0.0.1:{mailbox.port}")
    assert (state, mailbox.mails) == ("queued", [])
    assert error == "the mail server can't be used: SSLError"


async def test_a_server_that_takes_no_passwords_says_so(trusted, serve, tell):
    mailbox = await serve(UPGRADED, auth_exclude_mechanism=["LOGIN", "PLAIN"])
    state, error = await tell(f"smtp://alerts%40x:p%40ss@127.0.0.1:{mailbox.port}")
    assert (state, mailbox.mails) == ("queued", [])
    assert error == "the mail server takes no passwords, and there is one to send"
