"""A version's way from training to the gate by commands alone, on the embedded stack, under a clock that a file moves.

It is run by its test (tests/promotion/walk/test_walk.py). Each command is called as a person types it; what it says is
held against what docs/models.md promises.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from models.simulator import LabelledTransaction, TrafficSettings, traffic_events
from ops import cli
from ops.bench.rig.waiting import wait_until
from tests.records import POLICY_PATH

POLICY: Final = POLICY_PATH.resolve()
DAY_MS: Final = 86_400_000
HOUR_S: Final = 3_600
WAIT_S: Final = 120.0
TOLD_DAYS: Final = 3
"""A file's label comes three days after its payment, so these are at least as old."""
WARM_DAYS: Final = 8
"""Days before the history: in a simulator's first week its gangs have only begun."""
HISTORY_DAYS: Final = 8
LIVE_DAYS: Final = 3
TRAFFIC: Final = {"seed": 11, "accounts": 2_500, "fraud_share": 0.02}
SHORT: Final = {
    "shadow_days": 1, "shadow_payments": 500, "review_each_stratum": 5, "share_hours": 1, "share_payments": 5,
    "agreement_percent": 95, "agreement_stopped_percent": 50, "stop_outcome_points": 50,
    "budget": 4, "trials": 28, "chance_percent": 20,
}  # fmt: skip
"""Spans of the policy that are as short as they may be, and what two models of so few payments can agree in."""
PLAN: Final = 'features = ["amount_gbp_minor", "beneficiary_age_hours", "local_minute_of_day"]\n[grid]\n'
"""Features that the payment alone says: the walk's state begins empty, and would count what it can't know yet."""
PEOPLE: Final = {"ann": "OPERATOR", "rita": "RISK", "cora": "COMPLIANCE", "edda": "ENGINEERING", "rev": "REVIEWER"}
APPROVERS: Final = ("rita", "cora", "edda")
SERVICES: Final = ("worker", "audit", "shadow", "incident")
PORTS: Final = ("FRAUD_WEB_PORT", "FRAUD_AUDIT_PORT", "FRAUD_SHADOW_PORT", "FRAUD_INCIDENT_PORT")
FIRST, NEXT = "bank-1", "bank-2"


class Walk:
    """One folder; `who` acts from now on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.published = folder, 0

    def act_as(self, name: str) -> None:
        os.environ["FRAUD_IDENTITY_FILE"] = str(self.folder / f"{name}.key")

    def fraud(self, *words: object, code: int = 0) -> str:
        """Run a command as a person types it, and return what it prints on both streams."""
        out, err = io.StringIO(), io.StringIO()
        begun = time.monotonic()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            ended = cli.run([str(word) for word in words])
        said = out.getvalue() + err.getvalue()
        told = f"$ fraud {' '.join(map(str, words))} -> {ended} ({time.monotonic() - begun:.1f} s)\n{said[:2_500]}"
        print(told, flush=True)
        assert ended == code, told
        return said

    def move_clock(self, hours: float) -> None:
        path = Path(os.environ["MOVED_CLOCK_FILE"])
        with path.open("r+b") as file:
            (moved_s,) = struct.unpack("<q", file.read(8))
            file.seek(0)
            file.write(struct.pack("<q", moved_s + int(hours * HOUR_S)))

    def publish(self, count: int) -> None:
        """Publish the next payments of the file, and wait until each was audited and looked at in the shadow."""
        lines = (self.folder / "live.jsonl").read_text().splitlines()[self.published : self.published + count]
        assert len(lines) == count, "the file holds enough"
        (self.folder / "part.jsonl").write_text("\n".join(lines) + "\n")
        self.fraud("payments", "publish", "part.jsonl", "--labels")
        self.published += count
        wait_until(lambda: self.looked_at() >= self.published, WAIT_S, f"{count} payments")

    def looked_at(self) -> int:
        shown = json.loads(self.quietly("models", "shadow", NEXT, "--no-labels", "--json"))
        return int(sum(shown["summary"]["standings"].values()))

    def quietly(self, *words: str) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            cli.run(list(words))
        return out.getvalue()


def write_files(folder: Path) -> None:
    """Write a history to learn from, and what is paid after it, by the same people."""
    now_ms = time.time_ns() // 1_000_000
    end_ms = now_ms - int(TOLD_DAYS * DAY_MS) - HOUR_S * 1_000
    days = WARM_DAYS + HISTORY_DAYS + LIVE_DAYS
    start_ms = (end_ms - days * DAY_MS) // (HOUR_S * 1_000) * HOUR_S * 1_000
    settings = TrafficSettings(start_ms=start_ms, days=days, **TRAFFIC)  # type: ignore[arg-type]
    warm_ms = start_ms + WARM_DAYS * DAY_MS
    live_ms = warm_ms + HISTORY_DAYS * DAY_MS
    with (folder / "history.jsonl").open("w") as history, (folder / "live.jsonl").open("w") as live:
        for event in traffic_events(settings):
            if isinstance(event, LabelledTransaction) and event.transaction.event_time_ms >= warm_ms:
                payment = event.transaction
                said = {name: value for name, value in payment._asdict().items() if value is not None}
                said |= {
                    "channel": payment.channel.value,
                    "segments": dict(payment.segments),
                    "fraud": int(event.fraud),
                }
                (history if payment.event_time_ms < live_ms else live).write(json.dumps(said) + "\n")


def write_policy(folder: Path) -> None:
    text = POLICY.read_text()
    for name, value in SHORT.items():
        text, changed = re.subn(rf"(?m)^{name} = [\d_]+", f"{name} = {value}", text, count=1)
        assert changed == 1, name
    (folder / "policy.toml").write_text(text)


@contextlib.contextmanager
def running(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{words[0]}.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-P", "-m", "ops.cli", *words], stdout=log, stderr=log, cwd=folder)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def settle(settings: Mapping[str, object]) -> None:
    for name, value in settings.items():
        os.environ[f"FRAUD_{name.upper()}"] = str(value)


def people(walk: Walk) -> None:
    (walk.folder / "passphrase").write_text("correct horse battery staple\n")
    (walk.folder / "passphrase").chmod(0o600)
    os.environ["FRAUD_IDENTITY_PASSPHRASE_FILE"] = str(walk.folder / "passphrase")
    keys = {name: walk.fraud("people", "create-key", name, f"{name}.key").split()[0] for name in ("adam", *PEOPLE)}
    walk.act_as("adam")
    walk.fraud("people", "first-admin")
    for name, role in PEOPLE.items():
        walk.fraud("people", "register-key", name, keys[name])
        walk.fraud("people", "grant", name, role)
    walk.fraud("people", "export", "people")


def approved(walk: Walk, version: str, *rest: str) -> None:
    for name in APPROVERS:
        walk.act_as(name)
        walk.fraud("models", "approve", version, "--role", PEOPLE[name], *rest)
    walk.act_as("ann")


def reviewed(walk: Walk) -> None:
    """Say of every disagreement who was right."""
    listed = walk.fraud("models", "disagreements", NEXT, "--json", "--limit", 500)
    wanted = [json.loads(line)["decision_id"] for line in listed.splitlines() if line.startswith("{")]
    assert wanted, "two models that never differ show nothing"
    walk.act_as("rev")
    for each in wanted:
        reason = "the payee is known to the payer"
        walk.fraud("models", "review-disagreement", NEXT, each, "CHALLENGER_RIGHT", "--reason", reason)
    walk.act_as("ann")
    assert "No disagreement." in walk.fraud("models", "disagreements", NEXT, "--open")


def main(folder: Path) -> None:
    walk = Walk(folder)
    os.chdir(folder)
    write_policy(folder)
    write_files(folder)
    with running(folder, "stack", "embedded"):
        settle({"env_file": folder / "var/embedded/stack.env"})
        wait_until((folder / "var/embedded/stack.env").exists, WAIT_S, "the stack")
        walk.fraud("topics", "create")
        people(walk)
        key_set = folder / "var/embedded/seals/keys"
        walk.fraud("keys", "create", "models", "models.key", "--set", key_set)
        walk.fraud("keys", "create", "artefacts", "artefacts.key", "--set", key_set)
        (folder / "plan.toml").write_text(PLAN)
        for version, seed in ((FIRST, 1), (NEXT, 2)):
            options = ("--version", version, "--out", "registry", "--plan", "plan.toml", "--seed", seed)
            walk.fraud("models", "train", "history.jsonl", "--labels-final", *options)
        settle({
            "model_registry": folder / "registry", "model_memory": folder / "memory", "people_file": folder / "people",
            "seal_keys_file": key_set, "artefacts_key_file": folder / "artefacts.key",
            "policy_path": folder / "policy.toml", "label_delay_days": 0,
        })  # fmt: skip
        os.environ["FRAUD_MODELS_KEY_FILE"] = str(folder / "models.key")
        walk.act_as("ann")
        walk.fraud("models", "sign", FIRST)
        approved(walk, FIRST)
        walk.fraud("models", "begin", FIRST, "--reason", "the first one of the bank")
        with contextlib.ExitStack() as services:
            for name in SERVICES:
                services.enter_context(running(folder, name, "run"))
            life(walk)


def life(walk: Walk) -> None:
    early = walk.fraud("models", "promote", NEXT, "--reason", "it finds more fraud", code=1)
    assert "is not signed" in early
    walk.fraud("models", "sign", NEXT)
    walk.fraud("models", "try", NEXT, "--reason", "it may find more fraud")
    wait_until(
        lambda: "No challenger" not in walk.quietly("models", "shadow", NEXT, "--no-labels"), WAIT_S, "the shadow"
    )
    walk.publish(700)
    walk.move_clock(24)
    for _ in range(2):
        walk.publish(2_000)
    assert "1 whole day covered" in walk.fraud("models", "shadow", NEXT)
    reviewed(walk)
    assert "golden: passed, evidence/bank-2/golden-" in walk.quietly("models", "check", NEXT, "--evidence")
    lacking = walk.fraud("models", "promote", NEXT, "--reason", "it finds more fraud", code=1)
    assert "no evidence of golden" not in lacking
    assert "It ran in shadow on" not in lacking
    assert f"There is no evidence of bias for {NEXT} (`fraud models bias {NEXT} --evidence`)." in lacking


if __name__ == "__main__":
    main(Path(sys.argv[1]))
