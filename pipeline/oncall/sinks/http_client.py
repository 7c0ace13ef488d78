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
_PAGE_BYTES: Final = 1024
_NOT_SENT: Final = (ConnectTimeoutError, NewConnectionError, NameResolutionError, LocationValueError)
_AGENT: Final = "fraud-decision-pipeline"


class HttpAnswer(NamedTuple):
    """body: None where it was torn, too slow or too long. retry_after_s: None where it says none, or nonsense.

    is_page: whether it is a page for people, so that it isn't a program that has answered.
    """

    status: int
    body: bytes | None
    retry_after_s: float | None
    is_page: bool = False


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
            body, is_whole = _body(response, self._body_s)
            wait_s = _retry_after_s(response.headers.get("Retry-After"))
            return HttpAnswer(response.status, body if is_whole else None, wait_s, _is_page(response.headers, body))
        finally:
            response.close()
            self._pool.clear()


def _body(response: urllib3.BaseHTTPResponse, within_s: float) -> tuple[bytes, bool]:
    """What came of the body, and whether it is all of it."""
    deadline, found = time.monotonic() + within_s, bytearray()
    try:
        while chunk := response.read1(_CHUNK):
            found += chunk
            if len(found) > BODY_BYTES_MAX or time.monotonic() > deadline:
                return bytes(found), False
    except (HTTPError, OSError):
        return bytes(found), False
    return bytes(found), True


def _is_page(headers: Mapping[str, str], body: bytes) -> bool:
    """By what it says of itself and begins with: many a program says text/html of the word "ok"."""
    begins = body[:_PAGE_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if begins.startswith((b"<!doctype html", b"<html")):
        return True
    is_encoded = headers.get("Content-Encoding", "identity").strip().lower() != "identity"  # which nobody asked for
    is_said = "html" in headers.get("Content-Type", "").lower()
    return is_said and (begins.startswith(b"<") or (is_encoded and bool(begins)))


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
