"""`fraud audit verify`: the offline verifier, run on an export. It stands here because the verifier does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output, coloured

if TYPE_CHECKING:
    from ops.verifier.export import Outside, Report
    from ops.verifier.freshness import Freshness

audit_app = typer.Typer()


@audit_app.command("verify")
def verify(
    directory: Annotated[Path, typer.Argument(metavar="EXPORT", help="A folder that `fraud audit export` wrote.")],
    keys: Annotated[Path, typer.Option(metavar="PATH", help="The key set that heads may be signed with.")],
    outside: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Take leaf files and heads from here instead of from the export."),
    ] = None,
    witness: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read the witness's own statements, besides the export's.")
    ] = None,
    unwitnessed: Annotated[
        bool, typer.Option("--unwitnessed", help="Accept a log that nobody outside sees; its heads must be fresh.")
    ] = False,
    timestamps: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Require timestamps (RFC 3161) of the authorities with these certificates."),
    ] = None,
    feeds: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Require every feed that a decision names, signed, from here.")
    ] = None,
    feed_keys: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The key set that feeds may be signed with.")
    ] = None,
    max_age: Annotated[
        str, typer.Option(metavar="AGE", help="Accept a log that was seen so long ago: 15m, 30d, or any.")
    ] = "15m",
    decisions_only: Annotated[
        bool, typer.Option("--decisions-only", help="Accept an export without ledger, reviews and control.")
    ] = False,
    restores: Annotated[
        int, typer.Option(min=0, metavar="N", help="Accept so many streams that began anew after a restore.")
    ] = 0,
    is_all: Annotated[bool, typer.Option("--all", help="Ask for a row of every leaf.")] = False,
    as_json: Json = False,
) -> None:
    """Verify an export offline. Exit 1 when something is not as it was written."""
    from ops.verifier.export import Outside

    if (feeds is None) != (feed_keys is None):
        raise Failure("--feeds and --feed-keys belong together.", "Give both, or neither.")
    where = Outside(outside or directory / "outside", witness)
    fresh = freshness(max_age, is_witnessed=not unwitnessed, is_timestamped=timestamps is not None)
    archive = None if feeds is None or feed_keys is None else (feeds, feed_keys)
    report = verified(directory, where, keys, fresh, timestamps, archive, is_all=is_all, with_tables=not decisions_only)
    raise typer.Exit(0 if show_report(Output(as_json=as_json), report, fresh, restores) else 1)


def freshness(max_age: str, *, is_witnessed: bool, is_timestamped: bool) -> Freshness:
    from ops.verifier.freshness import Freshness, age_of
    from pipeline.io.clock import now_ms

    try:
        return Freshness(now_ms(), age_of(max_age), is_witnessed, is_timestamped)
    except ValueError as error:
        raise Failure(f"--max-age can't be used: {error}.", "Write 15m, 2h, 30d, or any.") from error


def verified(
    folder: Path,
    outside: Outside,
    key_set: Path,
    fresh: Freshness,
    timestamps: Path | None,
    feeds: tuple[Path, Path] | None = None,
    *,
    is_all: bool,
    with_tables: bool,
) -> Report:
    from ops.verifier.export import Trust, Unreadable, verify_export
    from ops.verifier.feeds import Feeds
    from ops.verifier.keys import read_keys
    from ops.verifier.telling import unread_text
    from ops.verifier.timestamps import time_of_authority

    try:
        time_of = None if timestamps is None else time_of_authority(timestamps)
        archive = None if feeds is None else Feeds(feeds[0], read_keys(feeds[1]))
        trust = Trust(read_keys(key_set), fresh, time_of, archive)
        return verify_export(folder, outside, trust, is_all=is_all, with_tables=with_tables)
    except (Unreadable, OSError, ValueError) as error:
        fix = "Give a folder that `fraud audit export` made, and the .keys file of `fraud keys create audit`."
        raise Failure(f"It can't be said: {unread_text(error)}.", fix) from error


def show_report(output: Output, report: Report, fresh: Freshness, restores_known: int) -> bool:
    """Show all of a report; return whether the log is as it was written."""
    from ops.verifier.telling import FINDINGS_SHOWN, finding_text, is_clean, sums

    for finding in report.findings[:FINDINGS_SHOWN]:
        output.record(finding._asdict(), f"{coloured(finding.kind, 'red')} {finding_text(finding)}")
    for statement in report.quarantined:
        output.record({"quarantined": statement}, f"QUARANTINED {statement}")
    tables = report.tables
    for restored in tables.restored:
        output.record({"restored": restored}, f"RESTORED {restored}")
    told_above = ("findings", "quarantined", "restored")
    counts: dict[str, object] = {name: value for name, value in report._asdict().items() if name not in told_above}
    counts["tables"] = {name: value for name, value in tables._asdict().items() if name not in told_above}
    *before, last = sums(report, fresh, restores_known)
    if not output.as_json:
        for line in before:
            output.line(line)
    output.record({**counts, "found": len(report.findings)}, last)
    return is_clean(report, restores_known)
