"""The registry as a file, for processes without a database: its signed acts, one a line, proved when they are read.

A worker goes by it when it asks who let the model back in. Nobody can change the file without an ADMIN's key; what is
missing at its end is only what came since.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pipeline.people.act_store import CHECKS, evidence_fields, evidence_of
from pipeline.people.acts import SignedAct
from pipeline.people.registry import Registry, advanced


class PeopleFileRefused(Exception):
    """The file holds no registry; one sentence, without a full stop."""


def write_people(path: Path, acts: Iterable[SignedAct]) -> None:
    """Put the file whole in the place of the one before it. Raises OSError."""
    partial = path.with_name(f".{path.name}.new")
    partial.write_text("".join(_line(signed) for signed in acts), encoding="utf-8")
    partial.replace(path)


def read_people(path: Path) -> Registry:
    """Raises PeopleFileRefused."""
    registry = Registry()
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            read = json.loads(line)
            evidence = evidence_of(read["evidence"])
            signed = SignedAct(str(read["content"]), bytes.fromhex(read["signature"]), evidence)
            registry, fault = advanced(registry, signed, CHECKS)
            if fault is not None:
                raise PeopleFileRefused(f"an act of {path} counts as nothing: {fault}")
    except OSError as error:
        raise PeopleFileRefused(f"{path} can't be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError):
        raise PeopleFileRefused(f"{path} holds no people, as `fraud people export` writes them") from None
    if not registry.root:
        raise PeopleFileRefused(f"{path} holds nobody")
    return registry


def _line(signed: SignedAct) -> str:
    fields = {
        "content": signed.content,
        "signature": signed.signature.hex(),
        "evidence": evidence_fields(signed.evidence),
    }
    return json.dumps(fields, sort_keys=True) + "\n"
