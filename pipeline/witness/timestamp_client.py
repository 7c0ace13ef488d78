"""A timestamp authority (RFC 3161): a third party's word about when a statement was there."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerificationError, VerifierBuilder
from rfc3161_client import decode_timestamp_response as decoded

ANSWER_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 64 * 1024
"""A timestamp with a chain of certificates takes 3 to 8 KB."""
APART_MS_MAX: Final = 300_000
"""Most time between this clock and the authority's; the verifier refuses what is further apart."""


class TimestampMissing(Exception):
    """The authority gave none that holds; the message says why."""


class Authority:
    def __init__(self, url: str, roots: Path) -> None:
        """url: http or https; the answer's signature is what counts. roots: the certificates that are trusted, in PEM.

        Raises OSError, ValueError.
        """
        if not url.startswith(("http://", "https://")):
            raise ValueError("a timestamp authority's address is not http:// or https://")
        self._url, self._roots = url, x509.load_pem_x509_certificates(roots.read_bytes())

    def stamp(self, text: bytes) -> bytes:
        """Return the authority's answer about the text, verified. Raises TimestampMissing."""
        request = TimestampRequestBuilder().data(text).hash_algorithm(HashAlgorithm.SHA256).build()
        answer = self._asked(request.as_bytes())
        builder = VerifierBuilder.from_request(request)
        for root in self._roots:
            builder = builder.add_root_certificate(root)
        try:
            response = decoded(answer)
            builder.build().verify_message(response, text)
            apart_ms = response.tst_info.gen_time.timestamp() * 1000 - time.time_ns() // 1_000_000
        except (VerificationError, ValueError, OverflowError) as error:
            raise TimestampMissing(f"the authority's timestamp does not hold ({error})") from error
        if abs(apart_ms) > APART_MS_MAX:
            raise TimestampMissing(f"the authority's clock is {apart_ms / 60_000:+,.0f} minutes from this one")
        return answer

    def _asked(self, request: bytes) -> bytes:
        headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
        asked = urllib.request.Request(self._url, request, headers)  # noqa: S310 - the scheme was checked
        try:
            with urllib.request.urlopen(asked, timeout=ANSWER_S) as response:  # noqa: S310
                answer: bytes = response.read(ANSWER_BYTES_MAX + 1)
        except (OSError, urllib.error.HTTPError) as error:
            raise TimestampMissing(f"the authority does not answer ({type(error).__name__})") from error
        if len(answer) > ANSWER_BYTES_MAX:
            raise TimestampMissing("the authority's answer is too long")
        return answer
