"""The mapping file: other people's names, words, units and habits, declared instead of guessed.

Whatever it doesn't declare is read by the strict rules of `conversions`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.domain.refusals import zone_of
from pipeline.publish.columns import plain_name
from pipeline.publish.payment_source import Unreadable

MAP_BYTES_MAX: Final = 64 * 1024
ENCODINGS: Final = frozenset(
    {"utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp437", "cp850", "cp852", "mac-roman"}
    | {f"cp{number}" for number in range(1250, 1259)}
    | {f"iso-8859-{number}" for number in (*range(1, 12), *range(13, 17))}
)
FIELDS: Final = (
    "transaction_id", "account_id", "amount", "amount_minor", "currency", "event_time", "event_time_ms",
    "beneficiary_account_id", "beneficiary_name", "beneficiary_country", "beneficiary_opened_at",
    "beneficiary_opened_at_ms", "reference", "channel", "ip_address", "device_id", "account_opened",
    "account_opened_epoch_day", "account_time_zone", "segments", "source_system", "fraud",
    "tx_time_s", "customer_id", "terminal_id",
)  # fmt: skip
"""The names of columns. An amount, a time and a day have two: in the unit that the name says, and as people do."""
DATES: Final = frozenset({"account_opened"})
TIMES: Final = frozenset({"event_time", "beneficiary_opened_at"})
_DIRECTIVE: Final = re.compile("%(.)", re.DOTALL)
_DATE_DIRECTIVES: Final = frozenset("Yymd")
_TIME_DIRECTIVES: Final = _DATE_DIRECTIVES | frozenset("HMSfz")

FieldName = Annotated[str, Field(pattern=f"^(?:{'|'.join(FIELDS)})$")]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Texts = Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=200, strict=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class TimeRule(_Strict):
    """How a column says a time: a form of texts, the zone of a wall clock, or the unit of a number."""

    format: Annotated[str, Field(max_length=80)] | None = None  # as Python's strptime has it
    zone: Annotated[str, Field(max_length=64)] | None = None  # of times that name none
    unit: Literal["s", "ms", "us", "ns"] | None = None  # of numbers since 1970-01-01T00:00:00Z
    below_ms: Literal["refuse", "cut"] = "refuse"

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, zone: str | None) -> str | None:
        if zone is not None and zone_of(zone) is None:
            raise ValueError("is no IANA time zone")
        return zone


class FileRules(_Strict):
    """How the file writes what it writes."""

    encoding: str | None = None
    separator: Annotated[str, Field(pattern='^[^"\r\n\x00]$')] | None = None
    decimal: Literal[".", ","] = "."
    grouping: Literal["", ",", ".", " ", "'", "\u00a0", "\u202f"] = ""
    doubles: Literal["refuse", "shortest"] = "refuse"
    nan: Literal["refuse", "absent"] = "refuse"
    binary: Literal["refuse", "utf-8"] = "refuse"
    blanks: Literal["keep", "strip"] = "keep"
    unended: Literal["refuse", "whole"] = "refuse"  # a last line without a line end
    absent: Texts = ()  # words that say that there is no value
    kept: Texts = ()  # words that look so, and are values: the name Null
    ignore: Texts = ()  # columns that no field takes
    payments: Annotated[int, Field(ge=0)] | None = None  # how many the whole file holds
    sums: dict[Annotated[str, Field(pattern="^[A-Z]{3}$")], Annotated[str, Field(max_length=40)] | int] = Field(
        default_factory=dict, max_length=300
    )  # currency → what all its payments come to, in whole units

    @property
    def says_signs(self) -> bool:
        """Whether the map says by which signs numbers are written, be it those that hold without it."""
        return bool(self.model_fields_set & {"decimal", "grouping"})

    @field_validator("encoding")
    @classmethod
    def _is_encoding(cls, encoding: str | None) -> str | None:
        name = None if encoding is None else encoding.lower().replace("_", "-").replace("windows-", "cp")
        name = {"latin-1": "iso-8859-1", "latin1": "iso-8859-1", "utf8": "utf-8"}.get(name or "", name)
        if name is not None and name not in ENCODINGS:
            raise ValueError("is none of the encodings that are read")
        return name

    @model_validator(mode="after")
    def _differ(self) -> FileRules:
        if self.decimal == self.grouping:
            raise ValueError("decimal and grouping are the same sign")
        if both := sorted(set(self.absent) & set(self.kept)):
            raise ValueError(f"{both[0]!r} is both absent and kept")
        return self


class FileMap(_Strict):
    columns: dict[FieldName, Text] = Field(default_factory=dict)  # field → the file's column
    segments: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,31}$")], Text] = Field(default_factory=dict)
    constants: dict[FieldName, Annotated[str, Field(max_length=200)] | int | bool] = Field(default_factory=dict)
    values: dict[FieldName, dict[str, str | int | bool]] = Field(default_factory=dict)  # field → their word → ours
    times: dict[FieldName, TimeRule] = Field(default_factory=dict)
    file: FileRules = FileRules()

    @model_validator(mode="after")
    def _agree(self) -> FileMap:
        if both := sorted(self.columns.keys() & self.constants.keys()):
            raise ValueError(f"{both[0]} is both a column and a constant")
        read = {plain_name(name): field for field, name in (*self.columns.items(), *self.segments.items())}
        if unread := sorted(read.keys() & set(map(plain_name, self.file.ignore))):
            raise ValueError(f"the column of {read[unread[0]]} is ignored as well")
        if unused := sorted(self.times.keys() - TIMES - DATES):
            raise ValueError(f"times.{unused[0]} is no time; {', '.join(sorted(TIMES | DATES))} are")
        for field, rule in self.times.items():
            _check_rule(field, rule)
        return self


def map_of(content: bytes, name: str) -> FileMap:
    """Read a mapping file. Raises Unreadable with the first thing that is wrong."""
    fix = "docs/files.md has the keys of a mapping file."
    if len(content) > MAP_BYTES_MAX:
        raise Unreadable(f"{name} has more than {MAP_BYTES_MAX // 1024} KB.", fix)
    try:
        return FileMap.model_validate(tomllib.loads(content.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise Unreadable(f"{name} is not UTF-8.", fix) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Unreadable(f"{name} is no TOML: {error}.", fix) from error
    except ValidationError as error:
        raise Unreadable(f"{name}: {_sentence(error)}.", fix) from error


def _check_rule(field: str, rule: TimeRule) -> None:
    if rule.unit is not None and rule.zone is not None:
        raise ValueError(f"times.{field} has a unit and a zone, and a number since 1970 is in none")
    if rule.format is None:
        if field in DATES and (rule.unit or rule.zone):
            raise ValueError(f"times.{field} is a date, which has neither unit nor zone")
        return
    if rule.unit is not None:
        raise ValueError(f"times.{field} has both a format and a unit")
    if "%" in _DIRECTIVE.sub("", rule.format):
        raise ValueError(f"times.{field}.format has a % alone")
    found = [each for each in _DIRECTIVE.findall(rule.format) if each != "%"]
    if twice := sorted(each for each in set(found) if found.count(each) > 1):
        raise ValueError(f"times.{field}.format has %{twice[0]} twice")
    allowed = _DATE_DIRECTIVES if field in DATES else _TIME_DIRECTIVES
    if unknown := sorted(set(found) - allowed):
        raise ValueError(f"times.{field}.format has %{unknown[0]}, which is not read")
    needed = ("Yy", "m", "d") if field in DATES else ("Yy", "m", "d", "H", "M")
    for each in needed:
        if not set(each) & set(found):
            raise ValueError(f"times.{field}.format lacks %{each[0]}")
    if field in TIMES and ("z" in found) == (rule.zone is not None):
        raise ValueError(f"times.{field} needs a zone, or %z in its format, and not both")


def _sentence(error: ValidationError) -> str:
    first: Mapping[str, object] = dict(error.errors(include_url=False, include_input=False)[0])
    place = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"] if part != "[key]")
    reason = {"extra_forbidden": "unknown key", "string_pattern_mismatch": "is not among what may stand here"}.get(
        str(first["type"]), str(first["msg"]).removeprefix("Value error, ")
    )
    return f"{place}: {reason}" if place else reason
