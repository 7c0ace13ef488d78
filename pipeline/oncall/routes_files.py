"""The file of routes: read, checked in every part, and joined with the secrets that it names.

Secrets never stand in the file. A sink names one, and the secret `alert_secrets`, a JSON object, has it by that name.
"""

from __future__ import annotations

import re
import tomllib
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.domain.alert import Severity
from pipeline.io.settings import Profile, Settings
from pipeline.oncall.routing import Escalation, Heartbeat, Route, Routes, Sink, SinkKind, faults, production_faults

FILE_BYTES_MAX: Final = 256 * 1024
PAGERDUTY: Final = "https://events.pagerduty.com"
SLACK: Final = "https://slack.com"
SIGNING_BYTES: Final = range(24, 65)
_NAME: Final = r"^[a-z][a-z0-9-]{0,40}$"
_ADDRESS: Final = re.compile(r"[\x21-\x7e]{1,2000}")
_MAILBOX: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}", re.ASCII)
_ROUTING_KEY: Final = re.compile(r"[A-Za-z0-9]{32}", re.ASCII)
_MAIL_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,190}:\d{1,5}", re.ASCII)
_SECRET: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,1998}[\x21-\x7e])?")

Names = Annotated[tuple[Annotated[str, Field(pattern=_NAME)], ...], Field(min_length=1, max_length=20)]
Patterns = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=300)], ...], Field(min_length=1, max_length=100)
]


class RoutesRefused(Exception):
    """The file can't be used; the message says why, and holds no secret."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _Sink(_Strict):
    name: Annotated[str, Field(pattern=_NAME)]
    kind: SinkKind
    url: str | None = None
    url_secret: str | None = None
    secret: str | None = None
    shows_evidence: bool = False
    messages_per_second: Annotated[float, Field(gt=0, le=100)] | None = None
    ca_file: str | None = None
    channel: Annotated[str, Field(max_length=100)] = ""
    server: str = ""
    sender: str = ""
    recipients: Annotated[tuple[str, ...], Field(max_length=50)] = ()
    user: str | None = None
    encryption: Literal["starttls", "implicit", "none"] = "starttls"


class _Escalation(_Strict):
    after_s: Annotated[int, Field(ge=1, le=86_400)]
    sinks: Names


class _Route(_Strict):
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)]
    scopes: Patterns = ("*",)
    codes: Patterns = ("*",)
    sinks: Names
    escalations: Annotated[tuple[_Escalation, ...], Field(max_length=5)] = ()


class _Heartbeat(_Strict):
    every_s: Annotated[int, Field(ge=1, le=3_600)] = 60
    sinks: Names


class _File(_Strict):
    version: Literal[1]
    source: Annotated[str, Field(min_length=1, max_length=100)] = "fraud-decision-pipeline"
    runbooks: Annotated[str, Field(max_length=500)] = ""
    group_wait_s: Annotated[float, Field(ge=0, le=60)] = 3.0
    quiet_hours: Annotated[float, Field(gt=0, le=24 * 30)] = 24.0
    resend_s: Annotated[float, Field(ge=1, le=240)] = 60.0
    sinks: Annotated[tuple[_Sink, ...], Field(min_length=1, max_length=20)]
    routes: Annotated[tuple[_Route, ...], Field(min_length=1, max_length=100)]
    heartbeat: _Heartbeat | None = None


def routes_of(settings: Settings) -> Routes:
    """Read the routes that the settings name, with their secrets. Raises RoutesRefused."""
    try:
        with settings.alert_routes_path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise RoutesRefused(f"{settings.alert_routes_path} can't be read ({error.strerror})") from error
    return parse_routes(content, settings.alert_secrets, is_production=settings.profile is Profile.PRODUCTION)


def parse_routes(content: bytes, secrets: Mapping[str, str], *, is_production: bool) -> Routes:
    """Raises RoutesRefused with all that is wrong, in the file's order."""
    if len(content) > FILE_BYTES_MAX:
        raise RoutesRefused(f"it is longer than {FILE_BYTES_MAX} bytes")
    try:
        read = _File.model_validate(tomllib.loads(content.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RoutesRefused(f"it is no TOML ({error})") from None
    except ValidationError as error:
        wrong = [
            f"{_place(each['loc'])}: {each['msg']}" for each in error.errors(include_url=False, include_input=False)
        ]
        raise RoutesRefused("; ".join(wrong)) from None
    found: list[str] = []
    sinks = [_sink(sink, secrets, found, is_production=is_production) for sink in read.sinks]
    routes = _joined(read, sinks)
    if len(routes.sinks) < len(read.sinks):
        found.append("two sinks have one name")
    if read.runbooks and (fault := address_fault(read.runbooks, is_production=False)) is not None:
        found.append(f"runbooks {fault}")
    found += faults(routes)
    if is_production:
        found += production_faults(routes)
    if found:
        raise RoutesRefused("; ".join(dict.fromkeys(found)))
    return routes


def address_fault(address: str, *, is_production: bool) -> str | None:
    """Why messages may not go to an address, or None. It doesn't quote the address, which may hold a secret."""
    if not _ADDRESS.fullmatch(address):
        return "is no address"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return "is no address"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "is not written https://HOST/PATH"
    if "@" in parts.netloc or parts.fragment:
        return "holds a user or a fragment"
    if parts.scheme == "http" and is_production:
        return "is http, which anybody on the way can read and answer"
    return None


def _joined(read: _File, sinks: list[Sink]) -> Routes:
    return Routes(
        sinks={sink.name: sink for sink in sinks},
        routes=tuple(
            Route(
                frozenset(route.severities),
                route.scopes,
                route.codes,
                tuple(dict.fromkeys(route.sinks)),
                tuple(Escalation(each.after_s * 1000, tuple(dict.fromkeys(each.sinks))) for each in route.escalations),
            )
            for route in read.routes
        ),
        heartbeat=None if read.heartbeat is None else Heartbeat(read.heartbeat.every_s * 1000, read.heartbeat.sinks),
        wait_ms=int(read.group_wait_s * 1000),
        quiet_ms=int(read.quiet_hours * 3_600_000),
        resend_ms=int(read.resend_s * 1000),
        source=read.source,
        runbooks=read.runbooks,
    )


def _sink(read: _Sink, secrets: Mapping[str, str], found: list[str], *, is_production: bool) -> Sink:
    """The sink; what is wrong with it is appended to `found`."""
    before = len(found)
    address = _address(read, secrets, found, is_production=is_production)
    secret = _secret(read, read.secret, secrets, found)
    _require_parts(read, secret, found, is_production=is_production)
    if read.ca_file is not None and not Path(read.ca_file).is_file():
        found.append(f"the sink {read.name}: there is no file {read.ca_file}")
    found[before:] = list(dict.fromkeys(found[before:]))
    return Sink(
        read.name,
        read.kind,
        address,
        secret,
        read.shows_evidence,
        _rate(read),
        read.ca_file,
        read.channel,
        read.sender,
        read.recipients,
        read.user,
        read.encryption,
    )


def _rate(read: _Sink) -> float | None:
    """Slack takes one message a second a channel, whatever the file says beyond."""
    return min(1.0, read.messages_per_second or 1.0) if read.kind is SinkKind.SLACK else read.messages_per_second


def _address(read: _Sink, secrets: Mapping[str, str], found: list[str], *, is_production: bool) -> str:
    if read.kind is SinkKind.EMAIL:
        if not _MAIL_HOST.fullmatch(read.server):
            found.append(f"the sink {read.name}: its server is not written HOST:PORT")
        return read.server
    given = {SinkKind.PAGERDUTY: PAGERDUTY, SinkKind.SLACK: SLACK}.get(read.kind)
    address = _secret(read, read.url_secret, secrets, found) if read.url_secret is not None else read.url or given
    if address is None:
        if read.url_secret is None:
            found.append(f"the sink {read.name} has no url")
        return ""
    if (fault := address_fault(address, is_production=is_production)) is not None:
        found.append(f"the sink {read.name}: its address {fault}")
    return address


def _secret(read: _Sink, name: str | None, secrets: Mapping[str, str], found: list[str]) -> str | None:
    if name is None:
        return None
    value = secrets.get(name)
    if value is None:
        found.append(f"the sink {read.name}: the secret alert_secrets has no {name}")
    elif not _SECRET.fullmatch(value):
        found.append(f"the sink {read.name}: its secret {name} is no line of printable characters")
        return None
    return value


def _require_parts(read: _Sink, secret: str | None, found: list[str], *, is_production: bool) -> None:
    """Append what a sink of this kind lacks."""
    needs_secret = read.kind in (SinkKind.PAGERDUTY, SinkKind.SLACK, SinkKind.WEBHOOK)
    if needs_secret and read.secret is None:
        found.append(f"the sink {read.name} names no secret")
    if read.kind is SinkKind.PAGERDUTY and secret is not None and not _ROUTING_KEY.fullmatch(secret):
        found.append(f"the sink {read.name}: its secret is no routing key of 32 characters")
    if read.kind is SinkKind.WEBHOOK and secret is not None:
        found += _signing_faults(read.name, secret)
    if read.kind is SinkKind.SLACK and not read.channel:
        found.append(f"the sink {read.name} names no channel")
    if read.kind is SinkKind.EMAIL:
        found += _mail_faults(read, is_production=is_production)


def _signing_faults(name: str, secret: str) -> list[str]:
    """Each of the secrets is of 24 to 64 bytes, as Standard Webhooks asks."""
    for each in secret.split():
        try:
            size = len(b64decode(each.removeprefix("whsec_"), validate=True))
        except ValueError:
            size = 0
        if not each.startswith("whsec_") or size not in SIGNING_BYTES:
            return [f"the sink {name}: its secret is not written whsec_ and 24 to 64 bytes in base64"]
    return []


def _mail_faults(read: _Sink, *, is_production: bool) -> list[str]:
    found = []
    if not read.recipients or not all(_MAILBOX.fullmatch(each) for each in (read.sender, *read.recipients)):
        found.append(f"the sink {read.name}: sender and recipients are addresses such as oncall@bank.example")
    if (read.user is None) != (read.secret is None):
        found.append(f"the sink {read.name}: user and secret belong together")
    if is_production and read.encryption == "none":
        found.append(f"the sink {read.name}: e-mail goes without TLS, so anybody on the way can read it")
    if read.encryption == "none" and read.secret is not None:
        found.append(f"the sink {read.name}: its password would go without TLS")
    return found


def _place(where: tuple[int | str, ...]) -> str:
    return ".".join(map(str, where)) or "the file"
