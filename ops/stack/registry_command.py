"""`fraud schemas register`: the schemas, made known to a Confluent-compatible registry by its REST interface."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.client import HTTPException
from typing import Final, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from pipeline.io.addresses import shown_address
from pipeline.io.avro.schema_files import SCHEMAS, released_text, releases
from pipeline.io.avro.writers import Release
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output

TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 64 * 1024
TOPIC_OF: Final = {
    "transaction.v1": "transactions.v1",
    "decision.v1": "decisions.v1",
    "dead_letter.v1": "transactions.dead.v1",
    "account.v1": "accounts.v1",
    "risk_signal.v1": "risk_signals.v1",
    "label.v1": "labels.v1",
    "alert.v1": "alerts.v1",
    "anchor.v1": "anchors.v1",
    "witness.v1": "witness.v1",
    "breaker_switch.v1": "breaker_switches.v1",
    "breaker_hour.v1": "breaker_hours.v1",
    "execution.v1": "executions.v1",
    "shadow.v1": "shadow.v1",
}


class Registered(NamedTuple):
    """guid: None where the registry gives none, as those before Confluent's 8.0."""

    release: Release
    subject: str
    schema_id: int
    guid: str | None


def register(settings: Settings, registry_url: str) -> Iterator[Registered]:
    """Every release of each schema under its topic's subject, in order; registering again gives the same ids.

    Raises Failure.
    """
    parts = urlsplit(registry_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Failure(f"{shown_address(registry_url)} is no registry address.", "Give it as http://HOST:PORT.")
    for name in SCHEMAS:
        subject = f"{settings.topic(TOPIC_OF[name])}-value"
        for number in releases(name):
            schema_id, guid = _register(registry_url, subject, released_text(name, number))
            yield Registered(Release(name, number), subject, schema_id, guid)


def _register(registry_url: str, subject: str, schema: str) -> tuple[int, str | None]:
    body = json.dumps({"schemaType": "AVRO", "schema": schema}).encode()
    shown = shown_address(registry_url)
    try:
        with urlopen(_request(registry_url, subject, body), timeout=TIMEOUT_S) as answer:  # noqa: S310 - http(s) only
            said = json.loads(answer.read(ANSWER_BYTES_MAX))
            schema_id, guid = int(said["id"]), said.get("guid")
    except HTTPError as error:
        with error:
            why = error.read(500).decode("utf-8", "replace")
        raise Failure(f"The registry at {shown} refused {subject} ({error.code}): {why}", "Resolve that.") from error
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise Failure(f"No schema registry answers at {shown}.", "Give its address with --registry.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failure(f"What answers at {shown} is no schema registry.", "Give its address with --registry.") from error
    return schema_id, guid if isinstance(guid, str) else None


def _request(registry_url: str, subject: str, body: bytes) -> Request:
    parts = urlsplit(registry_url)
    host = parts.netloc.rpartition("@")[2]
    path = f"{parts.path.rstrip('/')}/subjects/{quote(subject, safe='')}/versions"
    request = Request(urlunsplit((parts.scheme, host, path, "", "")), data=body, method="POST")  # noqa: S310 - checked
    request.add_header("Content-Type", "application/vnd.schemaregistry.v1+json")
    if parts.username:
        secret = base64.b64encode(f"{parts.username}:{parts.password or ''}".encode()).decode()
        request.add_header("Authorization", f"Basic {secret}")
    return request


def show_registered(output: Output, registered: list[Registered]) -> None:
    """A line each, then the setting that pins them all: the current release's id first, since that one is written."""
    pinned: dict[str, list[int | str]] = {}
    for each in registered:
        fields = {**each._asdict(), "release": str(each.release)}
        output.record(fields, f"{each.schema_id:>6}  {each.release}  {each.subject}")
        ids = pinned.setdefault(str(each.release), [])
        ids += [known for known in (each.schema_id, each.guid) if known is not None and known not in ids]
    setting = json.dumps(pinned, separators=(",", ":"))
    output.record({"FRAUD_CONFLUENT_IDS": setting}, f"FRAUD_CONFLUENT_IDS='{setting}'")
