"""M12: mail over TLS, to a server on this machine whose certificate comes from an authority of its own."""

import asyncio
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from app.alerts.channels import test_channel as send_test
from app.alerts.jobs import job_handlers
from app.alerts.kinds import ChannelKind
from tests.alerts.conftest import Mailbox
from tests.alerts.test_deliveries import deliveries
from tests.conftest import TESTER

IMPLICIT, UPGRADED = "smtps", "smtp"


def certified(name, issuer=None, issuer_key=None, **extension):
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = issuer_key or key
    builder = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(issuer.subject if issuer else called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signed.public_key()), critical=False
        )
    )
    if issuer is None:
        usage = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
             "key_agreement", "encipher_only", "decipher_only"), False
        )  # fmt: skip
        builder = builder.add_extension(
            x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName(extension["names"]), critical=False)
    return builder.sign(signed, hashes.SHA256()), key


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def authority():
    return certified("An authority of our own")


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    """Have this process trust our authority, the way that operators have it do so."""
    file = tmp_path / "authority.pem"
    file.write_bytes(pem(authority[0]))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


def server_context(authority, tmp_path, names):
    certificate, key = certified("the mail server", *authority, names=names)
    file = tmp_path / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(pem(certificate) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


LOOPBACK = [x509.IPAddress(ip_address("127.0.0.1"))]
ELSEWHERE = [x509.DNSName("mail.example.org")]


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
