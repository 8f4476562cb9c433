"""Messages by e-mail, over the mail server of the configuration. Everything here blocks; callers run it in threads."""

import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Self
from urllib.parse import unquote, urlsplit

from app.alerts.egress import NotDeliveredError
from app.alerts.trust import mistrust_of, trusting
from app.core.config import Settings

SECONDS = 20.0
_PORTS = {"smtp": 25, "smtps": 465}


@dataclass(frozen=True)
class MailServer:
    """Who takes mail from this service, and in whose name it is sent."""

    host: str
    port: int
    is_tls: bool
    sender: str
    user: str | None = None
    password: str | None = None

    @classmethod
    def configured(cls, settings: Settings) -> Self:
        """The one that the configuration names."""
        url = urlsplit(settings.smtp_url.get_secret_value())
        return cls(
            host=url.hostname or "localhost",
            port=url.port or _PORTS[url.scheme],
            is_tls=url.scheme == "smtps",
            sender=settings.email_sender,
            user=url.username and unquote(url.username),
            password=url.password and unquote(url.password),
        )

    def send(self, to: Sequence[str], subject: str, text: str, message_id: str) -> None:
        """Hand one message over; whoever gets it twice can tell by its id.

        Raises:
            NotDeliveredError: the server can't be reached, or does not take it for anybody.
        """
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = (
            " ".join(subject.split()),
            self.sender,
            ", ".join(to),
        )
        message["Message-ID"] = f"<{message_id}@{self.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office notes in answer
        message.set_content(text)
        try:
            with self._connect() as server:
                refused = server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise NotDeliveredError(_problem_of(error)) from None
        if refused:
            raise NotDeliveredError(f"the mail server refused {len(refused)} of {len(to)} recipients")

    def _connect(self) -> smtplib.SMTP:
        trusted = trusting()
        if self.is_tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=SECONDS, context=trusted)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=SECONDS)
        try:
            self._introduce(server, trusted)
        except BaseException:
            server.close()
            raise
        return server

    def _introduce(self, server: smtplib.SMTP, trusted: ssl.SSLContext) -> None:
        """Encrypt where the server can; a password never travels in the clear."""
        server.ehlo()
        if not self.is_tls and server.has_extn("starttls"):
            server.starttls(context=trusted)
            server.ehlo()
        elif self.user and not self.is_tls:
            raise NotDeliveredError(
                "the mail server offers no encryption, and there is a password to send", is_final=True
            )
        if self.user:
            server.login(self.user, self.password or "")


def _problem_of(error: OSError | smtplib.SMTPException) -> str:
    """Why a message was not taken, in words that hold no secret: not those of the server, which may repeat some."""
    mistrust = mistrust_of(error, "the mail server's")
    if mistrust is not None:
        return mistrust
    match error:
        case smtplib.SMTPAuthenticationError(smtp_code=code):
            return f"the mail server answered {code}: it does not take this user's password"
        case (
            smtplib.SMTPNotSupportedError()
            | smtplib.SMTPException(args=("No suitable authentication method found.",))
        ):
            return "the mail server takes no passwords, and there is one to send"
        case smtplib.SMTPResponseException(smtp_code=code):
            return f"the mail server answered {code}"
    return f"the mail server can't be used: {type(error).__name__}"
