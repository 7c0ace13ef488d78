"""The values that columns of the audit tables must hold, from a record's bytes, as PostgreSQL writes them in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from .avro import Read, avro_reader, read_long
from .identity import execution_id

TABLES: Final = ("ai_decision_log", "reversal_log", "review_log")
# Columns of ai_decision_log that have the name and the value of the record's field.
_SAME: Final = (
    "decision_id", "transaction_id", "account_id", "agent_id", "model_version", "policy_version", "reasons",
    "rules_triggered", "route", "breaker_state", "breaker_scope", "source_partition", "source_offset",
)  # fmt: skip
_HEADER_BYTES: Final = {b"\xc3": 10, b"\x00": 5, b"\x01": 17}
"""By the first byte: single-object encoding, an id of a registry, and its GUID."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CLAIM_MS_MIN: Final = -62_104_060_800_000
_CLAIM_MS_MAX: Final = 253_339_228_799_999


class Records:
    """A reader of decisions.v1's values: it gives the table and the columns that follow, or raises ValueError.

    `releases`: the schema of every header that a value may begin with; None: of an export that holds one schema only,
    which every value is written in. Columns that a release had no field for hold the default of `schema_text`.
    """

    def __init__(self, schema_text: str, releases: Mapping[bytes, str] | None = None) -> None:
        self._readers = _readers(schema_text)
        texts = {} if releases is None else dict(releases)
        by_text = {text: _readers(text) for text in set(texts.values())}
        self._by_header = None if releases is None else {header: by_text[text] for header, text in texts.items()}
        self._defaults = {branch["name"]: _defaults(branch) for branch in json.loads(schema_text)}

    def source(self, value: bytes) -> tuple[int | None, int | None]:
        """Return the partition and offset of the payment that a decision is about; Nones where it is no decision."""
        try:
            table, columns = self.columns(value)
        except (ValueError, IndexError, KeyError, OverflowError):
            return None, None
        return (columns["source_partition"], columns["source_offset"]) if table == TABLES[0] else (None, None)

    def feeds(self, value: bytes) -> tuple[bytes, ...]:
        """Return the hashes of the exchange rates and sanctions that a decision names; empty where it is no decision or
        names none. Raises ValueError as `columns` does."""
        name, fields = self._fields(value)
        if name != "Decision" or "sanctions_hash" not in fields:
            return ()
        return fields["exchange_rates_hash"], fields["sanctions_hash"]

    def columns(self, value: bytes) -> tuple[str, dict[str, Any]]:
        name, fields = self._fields(value)
        return _COLUMNS[name](fields)

    def _fields(self, value: bytes) -> tuple[str, dict[str, Any]]:
        at = _HEADER_BYTES.get(value[:1], 5)
        readers = self._readers if self._by_header is None else self._by_header.get(value[:at])
        if readers is None:
            raise ValueError("the export holds no schema that they are written in")
        try:
            branch, at = read_long(value, at)
            name, read = readers[branch]
            fields, at = read(value, at)
        except (IndexError, KeyError, UnicodeDecodeError) as error:
            raise ValueError("the bytes are no record") from error
        if at != len(value):
            raise ValueError("bytes follow the record")
        return name, {**self._defaults[name], **fields}


def _readers(schema_text: str) -> list[tuple[str, Read]]:
    named: dict[str, Read] = {}
    return [(branch["name"], avro_reader(branch, named)) for branch in json.loads(schema_text)]


def _defaults(branch: Mapping[str, Any]) -> dict[str, Any]:
    return {field["name"]: field["default"] for field in branch["fields"] if "default" in field}


def _decision_columns(fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    confidence_bp = fields["confidence_bp"]
    return "ai_decision_log", {
        **{name: fields[name] for name in _SAME},
        "model_hash": hex_text(fields["model_hash"]),
        "policy_hash": hex_text(fields["policy_hash"]),
        "input_hash": fields["input_hash"].hex(),
        "input_snapshot": fields["snapshot"],
        "decision": fields["outcome"],
        "confidence": f"{confidence_bp // 10_000}.{confidence_bp % 10_000:04}",
        "reasoning": fields["summary"],
        "execution_id": execution_id(fields["snapshot"]["transaction"]),
        "created_at": _claim_text(fields["decided_at_ms"]),
    }


def _reversal_columns(fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    rest = {name: value for name, value in fields.items() if name != "reversed_at_ms"}
    return "reversal_log", {**rest, "created_at": _claim_text(fields["reversed_at_ms"])}


def _review_columns(fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    rest = {name: value for name, value in fields.items() if name != "reviewed_at_ms"}
    return "review_log", {**rest, "created_at": _claim_text(fields["reviewed_at_ms"])}


_COLUMNS: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]]] = {
    "Decision": _decision_columns,
    "Reversal": _reversal_columns,
    "ReviewOutcome": _review_columns,
}


def hex_text(content: bytes) -> str:
    return "\\x" + content.hex()


def time_text(at_us: int) -> str:
    """Write a time as PostgreSQL does in JSON, in UTC."""
    fraction = at_us % 1_000_000
    return f"{_second(at_us // 1_000_000)}{f'.{fraction:06}'.rstrip('0') if fraction else ''}+00:00"


def time_ms(text: str) -> int:
    """Read a time that PostgreSQL wrote in JSON, of whole milliseconds. Raises ValueError where it is none."""
    at = datetime.fromisoformat(text)
    at_ms = int((at - _EPOCH) / timedelta(milliseconds=1))
    if time_text(at_ms * 1000) != text:
        raise ValueError("a time is not written as whole milliseconds in UTC")
    return at_ms


def _claim_text(at_ms: int) -> str:
    """Write a time that a record claims: the nearest that a column can hold, from the year 2 to 9997."""
    return time_text(min(max(at_ms, _CLAIM_MS_MIN), _CLAIM_MS_MAX) * 1000)


@lru_cache(maxsize=100_000)
def _second(at_s: int) -> str:
    try:
        return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    except (OverflowError, OSError) as error:
        raise ValueError("a time is out of range") from error
