"""`fraud audit verify`: the offline verifier, run on an export. It stands here because the verifier does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output, coloured

if TYPE_CHECKING:
    from ops.verifier.export import Report

FINDINGS_SHOWN: Final = 1000

audit_app = typer.Typer()


@audit_app.command("verify")
def verify(
    directory: Annotated[Path, typer.Argument(metavar="EXPORT", help="A folder that `fraud audit export` wrote.")],
    public_key: Annotated[Path, typer.Option(metavar="PATH", help="The public half of the key that signs heads.")],
    outside: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Take leaf files and heads from here instead of from the export."),
    ] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Ask for a row of every leaf.")] = False,
    as_json: Json = False,
) -> None:
    """Verify an export offline. Exit 1 when something is not as it was written."""
    report = verified(directory, outside, public_key, is_all=is_all)
    raise typer.Exit(0 if show_report(Output(as_json=as_json), report) else 1)


def verified(folder: Path, outside: Path | None, public_key_path: Path, *, is_all: bool) -> Report:
    from ops.verifier.export import Unreadable, verify_export
    from pipeline.audit import key_files

    try:
        key = key_files.public_key(public_key_path)
        return verify_export(folder, outside or folder / "outside", key, is_all=is_all)
    except key_files.SigningKeyRefused as refusal:
        raise Failure(f"{refusal}.", "Give the .pub file that `fraud keys create audit` made.") from refusal
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
