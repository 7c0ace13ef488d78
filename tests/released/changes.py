"""Changes that later versions make, one of each kind, made by code in a copy of the checkout.

They look for names and lines rather than for places, so that they outlive what is written around them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = Callable[[Path], None]
Json = Any


def copy_of_checkout(root: Path, to: Path) -> Path:
    """What git knows of, and what it would know of: the files as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, to / name)
    return to


def inserted_after(path: Path, line: str, *new: str) -> None:
    """Insert lines after the one that is `line`, or begins with it, but for its indent; they get its indent."""
    lines = path.read_text(encoding="utf-8").split("\n")
    exact = [number for number, each in enumerate(lines) if each.strip() == line]
    places = exact or [number for number, each in enumerate(lines) if each.strip().startswith(line)]
    assert len(places) == 1, f"{path.name} has {len(places)} lines that begin with {line!r}"
    indent = lines[places[0]][: len(lines[places[0]]) - len(lines[places[0]].lstrip())]
    lines[places[0] + 1 : places[0] + 1] = [indent + each for each in new]
    path.write_text("\n".join(lines), encoding="utf-8")


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has {text.count(old)} of {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def released_schema(root: Path, name: str, change: Callable[[Json], None]) -> Json:
    """Release the next version of a schema, and return it."""
    folder = root / "schemas" / "released" / name
    schema = json.loads((root / "schemas" / f"{name}.avsc").read_text(encoding="utf-8"))
    change(schema)
    text = json.dumps(schema, indent=2) + "\n"
    number = 1 + max(int(path.stem) for path in folder.iterdir())
    for path in (root / "schemas" / f"{name}.avsc", folder / f"{number}.avsc"):
        path.write_text(text, encoding="utf-8")
    return schema


def field(record: Json, name: str) -> Json:
    return next(each for each in record["fields"] if each["name"] == name)


def put_after(record: Json, name: str, new: Json) -> None:
    record["fields"].insert(record["fields"].index(field(record, name)) + 1, new)


def new_fields(root: Path) -> None:
    """A field at the end of the payment, and one in the middle of the decision, which is not what its default says."""
    purpose = {"name": "purpose_code", "type": ["null", "string"], "default": None, "unsaid": "NONE: none is given."}
    transaction = released_schema(root, "transaction.v1", lambda schema: schema["fields"].append(purpose))

    def grown(union: Json) -> None:
        desk = {"name": "desk", "type": "string", "default": "", "unsaid": "UNKNOWN: nobody said."}
        put_after(union[0], "rules_triggered", desk)
        field(field(union[0], "snapshot")["type"], "transaction")["type"] = transaction

    released_schema(root, "decision.v1", grown)
    domain, avro = root / "pipeline" / "domain", root / "pipeline" / "io" / "avro"
    inserted_after(domain / "payment.py", "source_system: str | None = None", "purpose_code: str | None = None")
    decoder = avro / "payment_decoder.py"
    inserted_after(
        decoder, "source_system, end = read_optional_text", "purpose_code, end = read_optional_text(body, end)"
    )
    inserted_after(decoder, "source_system: str | None", "purpose_code: str | None")
    replaced(decoder, "_Tail(segments, source_system, ", "_Tail(segments, source_system, purpose_code, ")
    inserted_after(decoder, "tail.source_system,", "tail.purpose_code,")
    inserted_after(domain / "decision.py", "rules_triggered: tuple[str, ...]", "desk: str")
    inserted_after(avro / "decision_decoder.py", "rules_triggered, at = ", "desk, at = read_text(body, at)")
    inserted_after(avro / "decision_decoder.py", "rules_triggered,", "desk,")
    encoder = root / "pipeline" / "decide" / "decision_encoder.py"
    inserted_after(encoder, "_write_texts(out, verdict.rules_triggered)", '_write_text(out, "the night desk")')


def new_feature(root: Path) -> None:
    """A feature in the middle of the list, so that the snapshot is longer and most features stand elsewhere."""

    def grown(union: Json) -> None:
        features = field(field(union[0], "snapshot")["type"], "features")["type"]
        new = {"name": "is_round_amount", "type": "long", "default": -2, "unsaid": "UNKNOWN: nobody looked."}
        put_after(features, "is_weekend", new)

    released_schema(root, "decision.v1", grown)
    inserted_after(root / "pipeline" / "domain" / "features.py", '"is_weekend",', '"is_round_amount",')
    weekend = "int((local_ms // DAY_MS + _EPOCH_WEEKDAY) % 7 >= 5),"
    inserted_after(root / "pipeline" / "decide" / "event_features.py", weekend, "int(t.amount_minor % 10_000 == 0),")
    worded = 0
    for path in sorted((root / "pipeline" / "decide").rglob("*.py")):
        lines = path.read_text(encoding="utf-8").split("\n")
        for number, line in enumerate(lines):
            if line.strip().startswith('"is_weekend": '):
                entry = _entry(lines[number:])
                lines[number:number] = [each.replace("is_weekend", "is_round_amount") for each in entry]
                path.write_text("\n".join(lines), encoding="utf-8")
                worded += 1
                break
    assert worded > 0, "a feature has words"


def _entry(lines: list[str]) -> list[str]:
    """The first entry of a mapping, whose brackets close where it ends."""
    for count in range(1, len(lines)):
        text = "".join(lines[:count])
        if text.count("(") == text.count(")"):
            return lines[:count]
    raise AssertionError("an entry ends")


def retired_guardrail(root: Path) -> None:
    """The last fallback rule and the last soft one go from the policy in force."""
    path = root / "pipeline" / "decide" / "policies" / "default.toml"
    for tier in ("soft", "fallback"):
        text = path.read_text(encoding="utf-8")
        blocks = list(re.finditer(rf"^\[\[{tier}\.rules\]\]\n(?:(?!\[).*\n)+", text, re.MULTILINE))
        assert len(blocks) > 1, f"the policy has {tier} rules"
        path.write_text(text[: blocks[-1].start()] + text[blocks[-1].end() :], encoding="utf-8")
    replaced(path, f"version = {_version_of(path)}", 'version = "without-two"')


def _version_of(path: Path) -> str:
    found = re.search(r"^version = (\".*\")$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, "a policy has a version"
    return found[1]


PHRASE_BOOKS = Path("pipeline") / "decide" / "phrase_books" / "books.py"


def new_wording(root: Path) -> None:
    """Another phrase book is current: each fact is told in other words."""
    path = root / PHRASE_BOOKS
    path.write_text(path.read_text(encoding="utf-8") + _REWORDED, encoding="utf-8")


_REWORDED = """

class Reworded(type(CURRENT)):
    def __init__(self):
        super().__init__()
        self.version = "reworded"

    def fact(self, *arguments, **named):
        return f"{super().fact(*arguments, **named)}, indeed"


CURRENT = Reworded()
BOOKS[CURRENT.version] = CURRENT
"""


def another_certainty(root: Path) -> None:
    """No change that a release may make: a guardrail is no longer certain, and old decisions say that it was."""
    replaced(
        root / "pipeline" / "decide" / "verdict.py",
        "CONFIDENCE_CERTAIN_BP: Final = 10_000",
        "CONFIDENCE_CERTAIN_BP: Final = 9_999",
    )


def feature_that_goes(root: Path) -> None:
    """No change that a release may make: models of then read it."""
    path = root / "pipeline" / "domain" / "features.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"is_weekend"', '"is_a_weekend"'), encoding="utf-8")
