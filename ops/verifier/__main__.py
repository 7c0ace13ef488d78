"""Is this audit log as it was written? `python -m verifier log EXPORT --keys FILE [--outside DIRECTORY]` tells.
For one decision, `python -m verifier proof FILE --keys FILE` does.

It reads an export (`fraud audit export`), and what stands outside the database: leaf files, signed heads, and what the
witness has seen of them. A record's bytes determine its leaf and every column; the leaf files determine the chain and
the Merkle roots; the heads sign both. Everything that doesn't fit is told with its table, partition and offset. An
export may be clean and old, and hide everything since: unless --max-age says otherwise, somebody outside must have seen
the log within the last 15 minutes. Exit 0 means that all is as it was written, 1 that something is not, and 2 that the
verifier can't say.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from .export import Outside, Report, Trust, Unreadable, verify_export
from .feeds import Feeds
from .freshness import MAX_AGE_DEFAULT, Freshness, age_of
from .keys import KeySet, read_keys
from .proofs import refused, shown_row
from .telling import FINDINGS_SHOWN, finding_text, is_clean, sums, unread_text


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m verifier", description=__doc__.partition("\n\n")[2])
    tasks = parser.add_subparsers(dest="task", required=True)
    log = tasks.add_parser("log", help="all of an export")
    log.add_argument("path", type=Path, metavar="EXPORT")
    log.add_argument("--outside", type=Path, help="leaf files and heads; those copied into the export when not given")
    log.add_argument("--witness", type=Path, metavar="FILE", help="the witness's own statements, besides the export's")
    log.add_argument("--unwitnessed", action="store_true", help="accept a log that nobody outside sees, by fresh heads")
    log.add_argument(
        "--timestamps", type=Path, metavar="PEM", help="require timestamps (RFC 3161) of these authorities"
    )
    log.add_argument("--feeds", type=Path, metavar="FOLDER", help="require the feeds of decisions, signed, from there")
    log.add_argument("--feed-keys", type=Path, metavar="FILE", help="the key set of the feeds' publishers")
    log.add_argument("--max-age", type=_age, default=MAX_AGE_DEFAULT, metavar="AGE", help="15m by default; 30d, any")
    log.add_argument(
        "--decisions-only", action="store_true", help="accept an export without ledger, reviews and control"
    )
    log.add_argument(
        "--restores", type=int, default=0, metavar="N", help="how many streams you know to have begun anew"
    )
    log.add_argument("--all", action="store_true", help="every leaf must have its row: nothing was written meanwhile")
    proof = tasks.add_parser("proof", help="a decision's or a row's, from `fraud audit prove`")
    proof.add_argument("path", type=Path, metavar="FILE")
    for task in (log, proof):
        task.add_argument("--keys", type=Path, required=True, help="the key set that heads may be signed with")
        task.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    try:
        keys = read_keys(options.keys)
        if options.task == "proof":
            text = options.path.read_text(encoding="utf-8")
            return _tell_proof(refused(text, keys), shown_row(text), as_json=options.json)
        outside = Outside(options.outside or options.path / "outside", options.witness)
        trust = _trust(keys, options)
        is_whole = not options.decisions_only
        report = verify_export(options.path, outside, trust, is_all=options.all, with_tables=is_whole)
        return _tell(report, trust.fresh, options.restores, as_json=options.json)
    except (Unreadable, OSError, ValueError) as error:
        print(_shown(f"It can't be said: {unread_text(error)}."), file=sys.stderr)
        return 2


def _trust(keys: KeySet, options: argparse.Namespace) -> Trust:
    is_timestamped = options.timestamps is not None
    fresh = Freshness(time.time_ns() // 1_000_000, options.max_age, not options.unwitnessed, is_timestamped)
    if (options.feeds is None) != (options.feed_keys is None):
        raise ValueError("--feeds and --feed-keys are given together")
    feeds = None if options.feeds is None else Feeds(options.feeds, read_keys(options.feed_keys))
    if not is_timestamped:
        return Trust(keys, fresh, feeds=feeds)
    from .timestamps import time_of_authority

    return Trust(keys, fresh, time_of_authority(options.timestamps), feeds)


def _age(text: str) -> int | None:
    try:
        return age_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _shown(line: str) -> str:
    """Return a line whose every character shows: what is verified may have been written to deceive its reader."""
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in line)


def _tell(report: Report, fresh: Freshness, restores_known: int, *, as_json: bool) -> int:
    code = 0 if is_clean(report, restores_known) else 1
    if as_json:
        findings = [finding._asdict() for finding in report.findings[:FINDINGS_SHOWN]]
        counts = {name: value for name, value in report.tables._asdict().items() if name != "findings"}
        told = {**report._asdict(), "tables": counts, "findings": findings, "found": len(report.findings)}
        print(json.dumps(told))
        return code
    for finding in report.findings[:FINDINGS_SHOWN]:
        print(_shown(f"{finding.kind} {finding_text(finding)}"))
    for statement in report.quarantined:
        print(_shown(f"QUARANTINED {statement}"))
    for restored in report.tables.restored:
        print(_shown(f"RESTORED {restored}"))
    for line in sums(report, fresh, restores_known):
        print(line)
    return code


def _tell_proof(why: str | None, row: str | None, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"holds": why is None, "why": why, **({} if row is None else {"row": row})}))
    else:
        print(_shown(why or "The proof holds." + ("" if row is None else f" {row}")))
    return 0 if why is None else 1


if __name__ == "__main__":
    sys.exit(main())
