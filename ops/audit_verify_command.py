"""`fraud audit verify`: the offline verifier, run on an export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from ops.verifier.export import Report, Unreadable, verify_export
from pipeline.audit import key_files
from pipeline.audit.command import Json
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output, coloured

FINDINGS_SHOWN: Final = 1000


def audit_verify(
    directory: Annotated[Path, typer.Argument(metavar="EXPORT", help="From `fraud audit export`.")],
    public_key: Annotated[Path, typer.Option(help="Of the key that signs heads.")],
    outside: Annotated[Path | None, typer.Option(help="Leaf files and heads; the export's when not given.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Every leaf must have its row.")] = False,
    as_json: Json = False,
) -> None:
    """Run the offline verifier on an export; exit 1 when something is not as it was written."""
    report = verify(directory, outside, public_key, is_all=is_all)
    raise typer.Exit(0 if show_report(Output(as_json=as_json), report) else 1)


def verify(folder: Path, outside: Path | None, public_key_path: Path, *, is_all: bool) -> Report:
    try:
        key = key_files.public_key(public_key_path)
        return verify_export(folder, outside or folder / "outside", key, is_all=is_all)
    except key_files.SigningKeyRefused as refusal:
        raise Failure(f"{refusal}.", "Give the .pub file that `fraud audit keygen` made.") from refusal
    except (Unreadable, OSError, ValueError) as error:
        raise Failure(f"It can't be said: {error}.", "Give a folder that `fraud audit export` made.") from error


def show_report(output: Output, report: Report) -> bool:
    """True when nothing was found."""
    for finding in report.findings[:FINDINGS_SHOWN]:
        place = f"{finding.table}, partition {finding.partition}, offset {finding.offset}"
        output.record(finding._asdict(), f"{coloured(finding.kind, 'red')} {place}: {finding.detail}")
    counts = {name: value for name, value in report._asdict().items() if name != "findings"}
    line = f"{report.rows:,} rows of {report.partitions} partitions, {report.heads} signed heads over {report.signed:,}"
    output.record({**counts, "found": len(report.findings)}, f"{line} of them: {len(report.findings) or 'no'} findings")
    return not report.findings
