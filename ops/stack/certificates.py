"""A certificate authority and one server certificate for the loopback interface, for stacks that live for a test."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ops.processes.servers import LOOPBACK

VALID_FOR: Final = datetime.timedelta(days=7)
_CLOCK_SLACK: Final = datetime.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files. keystore_path: the key, the certificate and its authority in one file, as Kafka wants them."""

    authority_path: Path
    certificate_path: Path
    key_path: Path
    keystore_path: Path


def certificates(directory: Path) -> Certificates:
    """Return the certificates, made on first use; the keys are readable by their owner only."""
    made = Certificates(*(directory / name for name in ("ca.pem", "server.pem", "server.key", "server.keystore.pem")))
    if not made.keystore_path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        _make(made)
    return made


def issue(directory: Path, hosts: Iterable[str]) -> None:
    """Make an authority, ca.pem, and for each host name HOST_certificate.pem with HOST_key.pem, as a bank would."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key)
    (directory / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    for host in hosts:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _server(key, authority, authority_key, [x509.DNSName(host)])
        path = directory / f"{host}_key.pem"
        path.touch(mode=0o600)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (directory / f"{host}_certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def _make(wanted: Certificates) -> None:
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _authority(authority_key)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(LOOPBACK))]
    server = _server(server_key, authority, authority_key, names)
    key_pem = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    server_pem, authority_pem = (certificate.public_bytes(Encoding.PEM) for certificate in (server, authority))
    wanted.authority_path.write_bytes(authority_pem)
    wanted.certificate_path.write_bytes(server_pem)
    for path, content in ((wanted.key_path, key_pem), (wanted.keystore_path, key_pem + server_pem + authority_pem)):
        path.touch(mode=0o600)
        path.write_bytes(content)


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _named("fraud stack authority")
    return (
        _draft(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
) -> x509.Certificate:
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]  # servers of a cluster call each other
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _draft(_named(str(names[0].value)), authority.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(signer, critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .sign(authority_key, hashes.SHA256())
    )


def _draft(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + VALID_FOR)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
