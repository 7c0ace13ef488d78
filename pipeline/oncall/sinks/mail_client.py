"""E-mail over SMTP: TLS by STARTTLS or from the start, one message at a time, and whether it can have arrived."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Final

from pipeline.oncall.outbox import Answer, Result, recipient_id
from pipeline.oncall.routing import Sink

TIMEOUT_S: Final = 10.0
_TAKEN: Final = (250, 251)
_PERMANENT: Final = range(500, 600)


class MailClient:
    """For one thread at a time; a connection a message."""

    def __init__(self, sink: Sink) -> None:
        """Raises OSError, ssl.SSLError."""
        host, _, port = sink.address.rpartition(":")
        self._host, self._port, self._sink = host, int(port), sink
        self._context = ssl.create_default_context(cafile=sink.ca_file)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2

    def send(self, mail: EmailMessage, recipients: Sequence[str]) -> Result:
        """recipients: who is to get it, of those that it names."""
        try:
            server = self._connected()
        except smtplib.SMTPAuthenticationError as error:
            return Result(Answer.LATER, f"the mail server refuses the login ({error.smtp_code})")
        except (OSError, smtplib.SMTPException) as error:
            return Result(Answer.LATER, f"the mail server can't be had ({type(error).__name__})")
        try:
            return self._handed_over(server, mail, recipients)
        finally:
            server.close()

    def _connected(self) -> smtplib.SMTP:
        if self._sink.encryption == "implicit":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT_S, context=self._context)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S)
        try:
            if self._sink.encryption == "starttls":
                server.starttls(context=self._context)
            if self._sink.user is not None and self._sink.secret is not None:
                server.login(self._sink.user, self._sink.secret)
        except BaseException:
            server.close()
            raise
        return server

    def _handed_over(self, server: smtplib.SMTP, mail: EmailMessage, recipients: Sequence[str]) -> Result:
        """Until DATA begins nothing can have arrived; from then on only an answer says so.

        One recipient who is refused keeps it from nobody else: the others get it, and the result says so. Who was
        refused for now (greylisted, a full mailbox, more recipients than a server takes at once) may get it later.
        """
        try:
            server.ehlo_or_helo_if_needed()
            code, _ = server.mail(self._sink.sender)
            if code not in _TAKEN:
                return Result(_refused(code), f"the mail server refuses the sender ({code})")
            refused = {each: code for each in recipients if (code := server.rcpt(each)[0]) not in _TAKEN}
            refusals = list(refused.values())
            said = f"the mail server refuses {len(refusals)} of {len(recipients)} recipients"
            if len(refusals) == len(recipients):
                is_for_ever = all(_refused(code) is Answer.NEVER for code in refusals)
                return Result(Answer.NEVER if is_for_ever else Answer.LATER, f"{said} ({refusals[0]})")
        except (OSError, smtplib.SMTPException) as error:
            return Result(Answer.LATER, f"the mail server went away ({type(error).__name__})")
        try:
            code, _ = server.data(mail.as_bytes())
        except smtplib.SMTPDataError as error:
            return Result(_refused(error.smtp_code), f"the mail server refuses the message ({error.smtp_code})")
        except (OSError, smtplib.SMTPException) as error:
            return Result(Answer.IN_DOUBT, f"the mail server does not answer ({type(error).__name__})")
        if code != 250:
            return Result(_refused(code), f"the mail server refuses the message ({code})")
        if refusals:
            waiting = tuple(recipient_id(each) for each, code in refused.items() if _refused(code) is Answer.LATER)
            is_partly = len(waiting) < len(refusals)
            return Result(Answer.DELIVERED, f"{said} ({refusals[0]})", is_partly=is_partly, waiting=waiting)
        return Result(Answer.DELIVERED)


def _refused(code: int) -> Answer:
    return Answer.NEVER if code in _PERMANENT else Answer.LATER
