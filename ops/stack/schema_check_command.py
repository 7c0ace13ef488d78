"""`fraud schemas check`: what becomes of a publisher's values, told before he writes one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from ops.stack.registry_command import TOPIC_OF
from ops.stack.schema_check import SAMPLES, Fate, Report, checked, single_object_header
from pipeline.io.avro.writers import CURRENT
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output, coloured

SCHEMA_BYTES_MAX: Final = 1024 * 1024
_COLOUR: Final = {Fate.READ: "green", Fate.DEFAULT: "yellow", Fate.IGNORED: "yellow"}


def check_schema(path: Path, topic: str) -> Report:
    """Raises Failure where there is no such file or topic, or the file holds no JSON."""
    names = {of: name for name, of in TOPIC_OF.items()}
    if topic not in names:
        raise Failure(f"There is no topic {topic}.", f"Name one of {', '.join(sorted(names))}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Failure(f"{path} can't be read: {error.strerror}.", "Give the path of an Avro schema.") from error
    if len(content) > SCHEMA_BYTES_MAX:
        raise Failure(f"{path} is larger than {SCHEMA_BYTES_MAX:,} bytes.", "Give the path of an Avro schema.")
    try:
        schema = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Failure(f"{path} is no JSON: {error}.", "Give the path of an Avro schema (.avsc).") from error
    return checked(names[topic], schema)


def show_schema_check(output: Output, report: Report) -> int:
    """A line a field, then the verdict. The exit code: 0 where values are accepted today, else 1."""
    for each in report.fields:
        word = coloured(each.fate, _COLOUR.get(each.fate, "red"))
        output.record(each._asdict(), f"{word} {each.place}{': ' if each.meaning else ''}{each.meaning}")
    header = single_object_header(report)
    fields = {
        "schema": report.schema,
        "release": None if report.release is None else str(report.release),
        "is_accepted": report.is_accepted,
        "is_releasable": report.is_releasable,
        "header": None if header is None else header.hex(),
        "why": report.why,
        "unreadable": report.unreadable,
        "not_by": list(map(str, report.not_by)),
    }
    output.record(fields, _verdict(report))
    return 0 if report.is_accepted else 1


def _verdict(report: Report) -> str:
    if report.why is not None:
        return f"{coloured('REFUSED', 'red')}: its values can't be read as {report.schema}: {report.why}."
    if report.release is not None:
        now = "the current release" if report.release == CURRENT[report.schema] else "an earlier release"
        return f"{coloured('ACCEPTED', 'green')}: it is {report.release}, {now}; its values are read today."
    refused = (
        f"{coloured('REFUSED', 'red')}: it is no release of {report.schema}, so each of its values becomes a dead"
        " letter (SCHEMA_UNKNOWN)."
    )
    if report.is_releasable:
        return f"{refused} It could be released: every release reads it, and it reads every release."
    doubts = []
    if report.unreadable:
        doubts.append(f"{report.unreadable} of {SAMPLES} generated values can't be read")
    if report.not_by:
        doubts.append(f"it and {', '.join(map(str, report.not_by))} can't read each other")
    return f"{refused} Nor could it be released: {'; '.join(doubts)}."
