"""Is this audit log as it was written? `python -m verifier log EXPORT --public-key FILE [--outside DIRECTORY]` tells.
For one decision, `python -m verifier proof FILE --public-key FILE` does.

It reads an export (`fraud audit export`), and what stands outside the database: leaf files and signed heads. A record's
bytes determine its leaf and every column; the leaf files determine the chain and the Merkle roots; the heads sign both.
Everything that doesn't fit is told with its table, partition and offset. Exit 0 means that all is as it was written, 1
that something is not, and 2 that the verifier can't say.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from .export import Report, Unreadable, verify_export
from .proofs import refused

FINDINGS_SHOWN = 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m verifier", description=__doc__.partition("\n\n")[2])
    tasks = parser.add_subparsers(dest="task", required=True)
    log = tasks.add_parser("log", help="all of an export")
    log.add_argument("path", type=Path, metavar="EXPORT")
    log.add_argument("--outside", type=Path, help="leaf files and heads; those copied into the export when not given")
    log.add_argument("--all", action="store_true", help="every leaf must have its row: nothing was written meanwhile")
    proof = tasks.add_parser("proof", help="one decision's, from `fraud audit prove`")
    proof.add_argument("path", type=Path, metavar="FILE")
    for task in (log, proof):
        task.add_argument("--public-key", type=Path, required=True, help="in PEM, of the key that signs heads")
        task.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    try:
        key = _public_key(options.public_key)
        if options.task == "proof":
            return _tell_proof(refused(options.path.read_text(encoding="utf-8"), key), as_json=options.json)
        outside = options.outside or options.path / "outside"
        return _tell(verify_export(options.path, outside, key, is_all=options.all), as_json=options.json)
    except (Unreadable, OSError, ValueError) as error:
        print(f"It can't be said: {error}.", file=sys.stderr)
        return 2


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except UnsupportedAlgorithm as error:
        raise Unreadable(f"{path} holds a key of another kind") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Unreadable(f"{path} holds another kind of key than Ed25519")
    return key


def _tell(report: Report, *, as_json: bool) -> int:
    if as_json:
        findings = [finding._asdict() for finding in report.findings[:FINDINGS_SHOWN]]
        print(json.dumps({**report._asdict(), "findings": findings, "found": len(report.findings)}))
        return 1 if report.findings else 0
    for finding in report.findings[:FINDINGS_SHOWN]:
        place = f"{finding.table}, partition {finding.partition}"
        place += "" if finding.offset is None else f", offset {finding.offset}"
        print(f"{finding.kind} {place}: {finding.detail}")
    print(
        f"{report.rows:,} rows of {report.partitions} partitions, {report.heads} signed heads over {report.signed:,} "
        f"of them, {report.younger:,} leaves younger than the export: {len(report.findings) or 'no'} findings"
    )
    return 1 if report.findings else 0


def _tell_proof(why: str | None, *, as_json: bool) -> int:
    print(json.dumps({"holds": why is None, "why": why}) if as_json else why or "The proof holds.")
    return 0 if why is None else 1


if __name__ == "__main__":
    sys.exit(main())
