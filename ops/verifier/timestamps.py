"""Timestamps of an authority (RFC 3161), by the package rfc3161-client, which nothing else here needs."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from .witness import TimeOf


def time_of_authority(roots: Path) -> TimeOf:
    """roots: certificates in PEM, of the authorities that are trusted. Raises ValueError, OSError."""
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    builder = VerifierBuilder()
    try:
        certificates = x509.load_pem_x509_certificates(roots.read_bytes())
    except ValueError as error:
        raise ValueError(f"{roots} holds no certificates in PEM") from error
    for certificate in certificates:
        builder = builder.add_root_certificate(certificate)
    verifier = builder.build()

    def time_of(timestamp: bytes, text: bytes) -> int:
        try:
            response = decode_timestamp_response(timestamp)
            verifier.verify_message(response, text)
        except (VerificationError, ValueError) as error:
            raise ValueError(f"its timestamp does not hold ({error})") from error
        return round(response.tst_info.gen_time.timestamp() * 1000)

    return time_of
