"""What is known of drills that were carried out: the schedule, and whether a report is what was signed."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ops.drills.report import KIND, SIGNATURE_KIND, signature_path
from pipeline.decide.policy import PolicyRefused, parse_policy
from pipeline.domain.times import utc_text
from pipeline.drills.objectives import EVERY_DAYS
from pipeline.drills.schedule import schedule
from pipeline.drills.store import read_latest_drills
from pipeline.io.clock import now_ms
from pipeline.io.postgres import DatabaseRefused, DatabaseUnavailable, connect, failures_named
from pipeline.io.production import READER
from pipeline.io.settings import Settings
from pipeline.keys.key_files import is_signed, read_key_set
from pipeline.keys.key_sets import KeySet, KeySetRefused, KeyUse, untrusted
from pipeline.terminal.failures import Failure, database_away
from pipeline.terminal.output import Output

REPORT_BYTES_MAX = 32 * 1024**2


def show_schedule(settings: Settings, output: Output) -> None:
    """Show every drill. Raises Failure where the records can't be read: then nobody knows what is due."""
    url = settings.as_role(READER).database_url
    try:
        with connect(url, "fraud-drills") as connection, failures_named():
            carried = read_latest_drills(connection)
    except DatabaseUnavailable as error:
        raise database_away(url) from error
    except DatabaseRefused as error:
        raise Failure(
            f"The records of drills can't be read: {error}.", "`fraud database migrate` may be due."
        ) from error
    for due in schedule(carried, every_days(settings), now_ms()):
        last = "never" if due.last_at_ms is None else f"{utc_text(due.last_at_ms)} ({due.last_verdict})"
        when = "OVERDUE" if due.is_overdue else f"due {utc_text(due.due_at_ms)[:10]}"
        output.record(due._asdict(), f"{due.drill:<14} {when:<16} last carried out: {last}")


def every_days(settings: Settings) -> int:
    """Return how often drills are due by the policy in force; each quarter where it doesn't say, or can't be read."""
    try:
        policy = parse_policy(settings.policy_path.read_bytes())
    except (OSError, PolicyRefused):
        return EVERY_DAYS
    return EVERY_DAYS if policy.drills is None else policy.drills.every_days


def show_verified(path: Path, key_set: Path, output: Output) -> bool:
    """Show whether a report is signed, and return it. Raises Failure where there is nothing to verify."""
    try:
        text, signature = _read(path), _read(signature_path(path))
        keys = read_key_set(key_set)
    except OSError as error:
        raise Failure(f"{error.filename} can't be read ({error.strerror}).", "Give the report's JSON file.") from error
    except KeySetRefused as refusal:
        raise Failure(f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.", "Give the key set as --key-set.") from refusal
    why = unproved(text, signature, keys)
    line = f"{path}: signed by a key that is trusted for drills" if why is None else f"{path}: NOT PROVED: {why}"
    output.record({"report": str(path), "is_proved": why is None, "why": why}, line)
    return why is None


def unproved(text: bytes, signature: bytes, keys: KeySet) -> str | None:
    """Return why a report is not proved by what stands beside it, or None where it is."""
    try:
        report, signed = json.loads(text), json.loads(signature)
        if report["kind"] != KIND or signed["kind"] != SIGNATURE_KIND:
            return "it is no report of a drill, or no signature of one"
        ended_at_ms = round(datetime.fromisoformat(report["ended_at"]).timestamp() * 1000)
        proof, key_id = b64decode(signed["signature"], validate=True), signed["key_id"]
        why = untrusted(keys, KeyUse.DRILLS, key_id, ended_at_ms, None)
    except (ValueError, KeyError, TypeError, AttributeError, NotBase64, RecursionError) as error:
        return f"it can't be read ({type(error).__name__})"
    if why is not None:
        return why
    if not is_signed(keys.keys[key_id].public, text, proof):
        return "the signature is not of this report"
    return _other_hash(text, signed)


def _other_hash(text: bytes, signed: Mapping[str, Any]) -> str | None:
    is_same = signed.get("sha256") == hashlib.sha256(text).hexdigest()
    return None if is_same else "the hash beside the signature is of another report"


def _read(path: Path) -> bytes:
    """Raises OSError."""
    with path.open("rb") as file:
        return file.read(REPORT_BYTES_MAX)
