"""One bounded HTTP request: what was answered, or whether anything can have arrived.

Redirects are not followed, answers are read up to a bound, and nothing that is raised or returned quotes an address, a
header or a body: each may hold a secret.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)

CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0
BODY_S: Final = 10.0
"""All of an answer's body is read by then, however slowly it comes."""
BODY_BYTES_MAX: Final = 64 * 1024
_CHUNK: Final = 8 * 1024
_NOT_SENT: Final = (ConnectTimeoutError, NewConnectionError, NameResolutionError, LocationValueError)
_AGENT: Final = "fraud-decision-pipeline"


class HttpAnswer(NamedTuple):
    """body: None where it was torn, too slow or too long. retry_after_s: None where it says none, or nonsense."""

    status: int
    body: bytes | None
    retry_after_s: float | None


class NotSent(Exception):
    """Nothing can have arrived. The message names the kind of failure only."""


class NoAnswer(Exception):
    """It may have arrived. The message names the kind of failure only."""


class HttpClient:
    """For one thread at a time. ca_file: the authorities that are trusted; None stands for the system's."""

    def __init__(self, ca_file: str | None, *, answer_s: float = ANSWER_S, body_s: float = BODY_S) -> None:
        """Raises OSError, ssl.SSLError."""
        self._body_s = body_s
        context = ssl.create_default_context(cafile=ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        timeout = urllib3.Timeout(connect=CONNECT_S, read=answer_s)
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=1, ssl_context=context, timeout=timeout, retries=False)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        """Raises NotSent, NoAnswer."""
        sent = {"User-Agent": _AGENT, "Content-Type": "application/json", "Accept": "application/json", **headers}
        try:
            response = self._pool.request(
                "POST", url, body=body, headers=sent, redirect=False, preload_content=False, decode_content=False
            )
        except _NOT_SENT as error:
            raise NotSent(type(error).__name__) from None
        except SSLError as error:
            if error.args and isinstance(error.args[0], ssl.SSLCertVerificationError):
                raise NotSent("its certificate is not trusted") from None
            raise NoAnswer(type(error).__name__) from None
        except (HTTPError, OSError) as error:
            raise NoAnswer(type(error).__name__) from None
        try:
            return HttpAnswer(
                response.status, _body(response, self._body_s), _retry_after_s(response.headers.get("Retry-After"))
            )
        finally:
            response.close()
            self._pool.clear()


def _body(response: urllib3.BaseHTTPResponse, within_s: float) -> bytes | None:
    deadline, found = time.monotonic() + within_s, bytearray()
    try:
        while chunk := response.read1(_CHUNK):
            found += chunk
            if len(found) > BODY_BYTES_MAX or time.monotonic() > deadline:
                return None
    except (HTTPError, OSError):
        return None
    return bytes(found)


def _retry_after_s(text: str | None) -> float | None:
    """Seconds or an HTTP date; what is neither says nothing."""
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):  # the last of a zone of more hours than C can count
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
