"""The proxies of a lane: one before each broker, before Redis, before PostgreSQL and before the rail."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from ops.drills.proxies.kafka_addresses import Answers, Endpoint, HostTooShort, in_answers, loopback_as_long_as
from ops.drills.proxies.proxy import FaultProxy, Target
from pipeline.io.kafka.client import admin_client
from pipeline.io.settings import Settings

BROKERS_S: Final = 10.0
REDIS_PORT: Final = 6379
_SECURE: Final = {"SASL_SSL": "SASL_PLAINTEXT", "SSL": "PLAINTEXT"}
"""What a client speaks to a proxy that ends TLS for it, both on loopback."""


class NotProxied(Exception):
    """No proxy can stand before a server, so the lane would reach it past one. A sentence without a full stop."""


class LaneProxies:
    """Makes every proxy; `kafka`, `redis`, `postgres` and `rail` are what faults are put into."""

    def __init__(self, deployment: Settings, postgres: Endpoint, rail: Endpoint) -> None:
        """Raises NotProxied where a server can't be proxied, and KafkaException where no broker answers."""
        self._open: list[FaultProxy] = []
        try:
            self.kafka = self._before_brokers(deployment)
            self.redis_url = self._before_redis(deployment.redis_url)
            self.postgres = self._opened(FaultProxy(Target(postgres)))
            self.rail = self._opened(FaultProxy(Target(rail)))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(str(proxy.endpoint) for proxy in self.kafka)

    def close(self) -> None:
        for proxy in self._open:
            proxy.close()
        self._open.clear()

    def _opened(self, proxy: FaultProxy) -> FaultProxy:
        self._open.append(proxy)
        return proxy

    def _before_brokers(self, deployment: Settings) -> list[FaultProxy]:
        """Make a proxy for each broker, and have every answer name the proxies in their places."""
        listed = admin_client(deployment.bootstrap_servers, deployment.kafka_options).list_topics(timeout=BROKERS_S)
        brokers = [Endpoint(str(broker.host), broker.port) for broker in listed.brokers.values()]  # its types say None
        tls = _kafka_tls(deployment.kafka_options)
        replaced: dict[bytes, bytes] = {}
        proxies = [self._opened(FaultProxy(Target(each, tls), lambda: Answers(replaced).feed)) for each in brokers]
        for broker, proxy in zip(brokers, proxies, strict=True):
            try:
                name = loopback_as_long_as(broker.host)
            except HostTooShort as error:
                raise NotProxied(str(error)) from error
            replaced[in_answers(broker)] = in_answers(Endpoint(name, proxy.endpoint.port))
        return proxies

    def _before_redis(self, url: str) -> str:
        parts, endpoint = urlsplit(url), single_redis(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        tls = _redis_tls(options) if parts.scheme == "rediss" else None
        self.redis = self._opened(FaultProxy(Target(endpoint, tls)))
        credentials = parts.netloc.rpartition("@")[0]
        netloc = f"{credentials}@{self.redis.endpoint}" if credentials else str(self.redis.endpoint)
        kept = "&".join(f"{name}={value}" for name, value in options.items() if not name.startswith("ssl_"))
        return urlunsplit(("redis", netloc, parts.path, kept, ""))


def single_redis(url: str) -> Endpoint:
    """Return where the one server of Redis is. Raises NotProxied for Sentinel, a cluster and a socket."""
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in ("redis", "rediss") or host is None or "," in parts.netloc:
        raise NotProxied("Redis is no single server, and a proxy stands before one only")
    return Endpoint(host, parts.port or REDIS_PORT)


def options_behind_proxies(options: Mapping[str, str]) -> dict[str, str]:
    """Return the deployment's options of librdkafka for a client that speaks to a proxy on loopback."""
    kept = {name: value for name, value in options.items() if not name.startswith(("ssl.", "enable.ssl."))}
    protocol = options.get("security.protocol", "PLAINTEXT").upper()
    return kept | ({"security.protocol": _SECURE[protocol]} if protocol in _SECURE else {})


def cut(proxies: Iterable[FaultProxy]) -> None:
    for proxy in proxies:
        proxy.cut()


def mend(proxies: Iterable[FaultProxy]) -> None:
    for proxy in proxies:
        proxy.mend()


def _kafka_tls(options: Mapping[str, str]) -> ssl.SSLContext | None:
    if options.get("security.protocol", "PLAINTEXT").upper() not in _SECURE:
        return None
    return _verifying(
        options.get("ssl.ca.location"), options.get("ssl.certificate.location"), options.get("ssl.key.location")
    )


def _redis_tls(options: Mapping[str, str]) -> ssl.SSLContext:
    return _verifying(options.get("ssl_ca_certs"), options.get("ssl_certfile"), options.get("ssl_keyfile"))


def _verifying(authority: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Make a context that always verifies the server and its name. Raises NotProxied."""
    try:
        context = ssl.create_default_context(cafile=authority)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise NotProxied(f"the files of TLS can't be read ({type(error).__name__})") from error
    return context
