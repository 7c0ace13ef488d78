"""Addresses of the state store, as FRAUD_REDIS_URL writes them.

redis://HOST:PORT/0, rediss:// (TLS) and unix:// name one server, or any server of a cluster: the server says which of
the two it is. redis+sentinel://H1:P1,H2:P2/SERVICE and redis+cluster://H1:P1,H2:P2 name several to ask, as one may be
away; rediss+sentinel:// and rediss+cluster:// speak TLS to all. Options stand behind a question mark, as redis-py names
them, besides sentinel_username and sentinel_password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.connection import parse_url

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")


class AddressKind(StrEnum):
    SERVER = "server"
    """One address; the server there says whether it is one of a cluster."""
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class AddressRefused(ValueError):
    """The text is no address of Redis; the message never quotes it, because it may hold a password."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where to ask for the servers, and how to write the address of each."""

    kind: AddressKind
    hosts: tuple[tuple[str, int], ...]  # empty for a unix socket
    service: str  # the name that the Sentinels watch; empty without them
    sentinel_options: dict[str, str] = field(repr=False)
    _url: str = field(repr=False)  # of the first host; for a unix socket, as it was written

    @property
    def is_tls(self) -> bool:
        return self._url.startswith("rediss://")

    @property
    def first(self) -> str:
        """The address of the first host in redis-py's words."""
        return self._url

    def node(self, host: str, port: int) -> str:
        """Return the address of a server in redis-py's words, with the password and options of this address."""
        parts = urlsplit(self._url)
        credentials, found, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{credentials}{found}{_written(host, port)}").geturl()


def parse_address(url: str) -> RedisAddress:
    """Read an address. Raises AddressRefused."""
    scheme, _, topology = urlsplit(url).scheme.partition("+")
    if scheme == "unix" and not topology:
        return RedisAddress(AddressKind.SERVER, (), "", {}, _checked(url))
    if scheme not in ("redis", "rediss") or topology not in ("", AddressKind.SENTINEL, AddressKind.CLUSTER):
        raise AddressRefused(
            "its scheme is not redis, rediss or unix, nor one of the first two with +sentinel, +cluster"
        )
    kind = AddressKind(topology) if topology else AddressKind.SERVER
    parts = urlsplit(url)
    credentials, found, places = parts.netloc.rpartition("@")
    hosts = tuple(_host(place, kind) for place in places.split(","))
    if kind is AddressKind.SERVER and len(hosts) > 1:
        raise AddressRefused("it names several hosts, so its scheme must say +sentinel or +cluster")
    service, database = _service(parts.path) if kind is AddressKind.SENTINEL else ("", parts.path)
    if kind is AddressKind.CLUSTER and database.strip("/") not in ("", "0"):
        raise AddressRefused("a cluster has database 0 only")
    options = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([(name, value) for name, value in options if name not in SENTINEL_OPTIONS])
    first = _checked(f"{scheme}://{credentials}{found}{_written(*hosts[0])}{database}{'?' if query else ''}{query}")
    of_sentinels = {name: value for name, value in options if name in SENTINEL_OPTIONS}
    return RedisAddress(kind, hosts, service, of_sentinels, first)


def _host(place: str, kind: AddressKind) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place}")
        port = parts.port
    except ValueError as error:
        raise AddressRefused("a port in it is no number") from error
    if not parts.hostname:
        raise AddressRefused("a host is missing")
    return parts.hostname, port or (SENTINEL_PORT if kind is AddressKind.SENTINEL else REDIS_PORT)


def _service(path: str) -> tuple[str, str]:
    """Return the name that the Sentinels watch, and the path of the database."""
    service, _, database = path.strip("/").partition("/")
    if not service:
        raise AddressRefused("the name that the Sentinels watch is missing behind the hosts")
    return unquote(service), f"/{database or 0}"


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _checked(url: str) -> str:
    try:
        parse_url(url)
    except ValueError as error:
        raise AddressRefused("an option in it has a wrong value") from error
    return url
