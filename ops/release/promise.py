"""`python -m ops.release.promise VERSION`: write down what a version promises, into tests/released/VERSION.

    records.jsonl.gz   records of decisions.v1 as the version wrote them, decisions with what it said of them
    told.jsonl.gz      what customers were told of the decisions, and what the other records say
    policies/          every policy and every feed that a decision names
    registry/          every model that a decision names
    export.tar.gz      an audit export of the same records
    promise.json       the SHA-256 of every file

Every later version reads, explains and verifies all of it to the byte (ops.release.kept, tests/released). The folder
is a function of the code, so writing it twice gives the same bytes. It takes 6 s, most of them PostgreSQL's.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from ops.release.audit_export import write_export
from ops.release.decided import Written, feed_files, written
from ops.release.told import TOLD, told_bytes, told_lines
from pipeline.domain.decision import StoredDecision
from pipeline.domain.payment import Decoded
from pipeline.explain.as_json import explanation_json
from pipeline.explain.explanation import explanation
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.verify import Result

RELEASED: Final = Path(__file__).parents[2] / "tests" / "released"
RECORDS: Final = "records.jsonl.gz"
EXPORT: Final = "export.tar.gz"
POLICIES: Final = "policies"
REGISTRY: Final = "registry"
HASHES: Final = "promise.json"
FORMAT: Final = 1
_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


class PromiseRefused(Exception):
    """A promise that could not be kept by the code that makes it, or one that was made before."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.release.promise", description=__doc__.partition("\n\n")[0])
    parser.add_argument("version", help="the version that is about to be released, such as 1.2.0")
    parser.add_argument("--out", type=Path, default=RELEASED, help="the folder that holds one for each version")
    parser.add_argument("--again", action="store_true", help="replace one that was made before, and never released")
    options = parser.parse_args()
    try:
        folder = write_promise(options.version, options.out, is_again=options.again)
    except PromiseRefused as refusal:
        print(f"{refusal}.", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size:,} bytes")
    return 0


def write_promise(version: str, out: Path, *, is_again: bool = False) -> Path:
    """Write the folder of a version, and return it. Raises PromiseRefused."""
    if not _VERSION.fullmatch(version):
        raise PromiseRefused(f"{version!r} is no version such as 1.2.0")
    folder = out / version
    if folder.exists() and not is_again:
        raise PromiseRefused(f"{folder} exists, and a promise is never changed; --again replaces an unreleased one")
    settings = Settings()
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        made = work / version
        _write(made, work, settings)
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(made, folder)
    return folder


def _write(folder: Path, work: Path, settings: Settings) -> None:
    folder.mkdir()
    shutil.copytree(settings.policy_archive, folder / POLICIES)
    shutil.copytree(settings.model_registry, folder / REGISTRY)
    for name, content in feed_files().items():
        (folder / POLICIES / name).write_bytes(content)
    records = written(settings)
    archive = RegimeArchive(folder / POLICIES, folder / REGISTRY)
    lines = [json.dumps(line, ensure_ascii=False, sort_keys=True) for line in _lines(records, archive)]
    (folder / RECORDS).write_bytes(_compressed("".join(f"{line}\n" for line in lines).encode()))
    (folder / TOLD).write_bytes(told_bytes(told_lines([json.loads(line) for line in lines], archive.regime_of)))
    write_export(records, work / "export", work)
    (folder / EXPORT).write_bytes(_packed(work / "export"))
    hashes = {"format": FORMAT, "sha256": dict(hashes_of(folder))}
    (folder / HASHES).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


def hashes_of(folder: Path) -> Iterator[tuple[str, str]]:
    """The SHA-256 of every file of a promise but HASHES, by its path within the folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != HASHES:
            yield path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()


def _lines(records: Sequence[Written], archive: RegimeArchive) -> Iterator[dict[str, object]]:
    wire = WireFormat()
    for record in records:
        line: dict[str, object] = {
            "partition": record.partition,
            "offset": record.offset,
            "timestamp_ms": record.timestamp_ms,
            "key": record.key.hex(),
            "value": record.value.hex(),
        }
        stored = wire.decode_stored_decision(record.value)
        if isinstance(stored, StoredDecision):
            told = explanation(stored, record.partition, record.offset, archive.regime_of)
            if told.check.result is not Result.IDENTICAL:
                raise PromiseRefused(
                    f"{told.check.decision_id} can't be verified by the code that made it: {told.check}"
                )
            decoded = wire.decode_transaction(record.payment)
            assert isinstance(decoded, Decoded), "it was decided"
            line |= {"payment": record.payment.hex(), "digest": decoded.digest.hex()}
            line["explanation"] = explanation_json(told)
        yield line


def _compressed(content: bytes) -> bytes:
    """With no time in it, so that equal content has equal bytes."""
    return gzip.compress(content, compresslevel=9, mtime=0)


def _packed(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
                entry.size = path.stat().st_size
                with path.open("rb") as file:
                    archive.addfile(entry, file)
    return _compressed(packed.getvalue())


if __name__ == "__main__":
    sys.exit(main())
