"""The demonstration's files: a policy with short windows, the shipped model, one that has gone wrong, and keys."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from models.artefact.files import champion_version, golden_json, load_champion, tables_json, write
from models.artefact.scoring import Model
from models.artefact.vectors import golden_vectors
from ops.processes.servers import LOOPBACK, free_port
from ops.rail.process import rail_url
from ops.stack.postgres import postgres_url
from pipeline.decide.policy import Policy, parse_policy
from pipeline.domain.features import COLUMN, FEATURES, NONE, Matrix
from pipeline.io.clock import now_ms
from pipeline.io.sealing import create_key_file
from pipeline.io.settings import Beginning, Profile, Settings
from pipeline.keys.key_files import create_signing_key

BLOCKED_TOO_MUCH_PERCENT: Final = 40
"""Share of the payments that the wrong model blocks: those that look most honest, many times what a good one blocks."""

WINDOW_S: Final = 6
HOURS_AWAY: Final = 10
UNUSUAL_MINUTES: Final = 1
"""An account's unusual hours are a minute long. A day passes within seconds or minutes, so longer ones come soon,
wherever they lie, and many payments are escalated in them: bills that all leave at six, most of all."""
DAY_MINUTES: Final = 1_440
SHORT_WINDOWS: Final[Mapping[str, int | list[int]]] = {
    "window_s": WINDOW_S,
    "error_window_s": 5,
    "confirmations": 2,
    "evaluation_interval_s": 1,
    "open_period_s": 8,
    "open_period_max_s": 12,  # a model that failed twice by chance must still be back before the end
    "state_lost_open_s": 5,
    "half_open_s": 4,
    "half_open_shares_percent": [50],
    "half_open_minimum_sample": 20,
    "latency_p99_ms": 5000,  # broker, database and all services share its cores
}
"""The breaker's settings in the demonstration. In earnest it looks at 5 minutes, stays open longer, and is quicker."""
WAVES_EVIDENCE: Final = 100
"""Evidence for which the cumulative sum trips, in place of the policy's 9: the most that a policy may ask for. A day of
payments passes in 20 s here, so each night is a lasting shift, and the day after it another one: by 9 the good model
was out of the loop, at some hours of the day, before it was to go wrong. What the wrong model blocks trips by its
share."""
WINDOW_SHARE: Final = 7
"""A segment's least sample is a seventh of a window. One of five age bands has as many payments, one of 16 postcode
areas has not. That of a model's version is most of a window: a new one begins with none, and what it does to segments
should be seen at the same time."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The files of one run, all under one folder."""

    registry: Path
    good_version: str
    settings: Settings
    policy: Policy
    postgres_port: int
    rail_port: int

    def environment(self) -> dict[str, str]:
        """Return the settings that make a worker use this scene, whatever is set outside."""
        s = self.settings
        return {
            "FRAUD_BOOTSTRAP_SERVERS": s.bootstrap_servers,
            "FRAUD_REDIS_URL": s.redis_url,
            "FRAUD_POLICY_PATH": str(s.policy_path),
            "FRAUD_POLICY_ARCHIVE": str(s.policy_archive),
            "FRAUD_FEEDS_PATH": str(s.feeds_path),
            "FRAUD_MODEL_REGISTRY": str(s.model_registry),
            "FRAUD_DEAD_LETTER_KEY_FILE": str(s.dead_letter_key_file),
            "FRAUD_WEB_HOST": s.web_host,
            "FRAUD_WEB_PORT": str(s.web_port),
            "FRAUD_CONSUMER_GROUP": s.consumer_group,
            "FRAUD_BEGIN_AT": Beginning.COMMITTED.value,  # behind the month that the demo begins with
            "FRAUD_TOPIC_PREFIX": s.topic_prefix,
            "FRAUD_AUDIT_DIRECTORY": str(s.audit_directory),
            "FRAUD_AUDIT_KEY_FILE": str(s.audit_key_file),
            "FRAUD_SEAL_DIRECTORY": str(s.seal_directory),
            "FRAUD_RAIL_URL": s.rail_url,
            "FRAUD_PROFILE": s.profile,
            "FRAUD_LOG_LEVEL": "INFO",
        }

    def as_role(self, role: str) -> Settings:
        """Return the settings of a process that comes to the database as `role`."""
        return self.settings.model_copy(update={"database_url": postgres_url(self.postgres_port, user=role)})

    def name_champion(self, version: str) -> None:
        """Name a champion, as a roll-out does: one file changes, and every worker looks at it every two seconds."""
        partial = self.registry / "champion.partial"
        partial.write_text(f"{version}\n")
        partial.rename(self.registry / "champion")

    def add_wrong_model(self, scores_micro: Sequence[int]) -> str:
        """Write a wrong model and return its version: the good model with every sign turned.

        It is as if fraud and honest payments had been swapped in training. It blocks the BLOCKED_TOO_MUCH_PERCENT that
        look most honest, and lets fraud pass. `scores_micro` are the good model's latest scores, which say where to
        cut.
        """
        good = load_champion(self.registry)
        version = f"{self.good_version[:24]}-wrong"
        cut_micro = block_from_micro(good, self.policy) + int(
            np.percentile(np.array(scores_micro), BLOCKED_TOO_MUCH_PERCENT)
        )
        turned = tuple(term._replace(table=-term.table) for term in good.terms)
        wrong = replace(good, version=version, intercept_micro=cut_micro - good.intercept_micro, terms=turned)
        manifest = json.loads((self.registry / self.good_version / "manifest.json").read_bytes())
        rows = golden_rows(manifest)
        for written_anew in ("format", "version", "files"):
            del manifest[written_anew]
        manifest["golden"] = golden_json(golden_vectors(wrong, rows, manifest["features"]))
        manifest["approvals"] = []
        card = b"# Gone wrong on purpose\n\nThe champion with every sign turned, made by `fraud demo`.\n"
        write(self.registry / version, tables_json(wrong), card, manifest)
        return version


def set_scene(directory: Path, bootstrap_servers: str, redis_url: str, rate: int) -> Scene:
    """Write the scene's files into `directory`, emptied first. Raises ModelRefused, PolicyRefused or OSError."""
    if directory.exists():
        shutil.rmtree(directory)
    shipped = Settings.model_construct()
    policies, registry = directory / "policies", directory / "registry"
    policies.mkdir(parents=True)
    windows = {**short_windows(rate), "shift_evidence": WAVES_EVIDENCE}
    content = with_short_windows(shipped.policy_path.read_text(encoding="utf-8"), windows, "demo")
    (policies / "demo.toml").write_text(content, encoding="utf-8")
    version = champion_version(shipped.model_registry)
    shutil.copytree(shipped.model_registry / version, registry / version)
    (registry / "champion").write_text(f"{version}\n")
    create_key_file(directory / "dead-letters.key")
    create_signing_key(directory / "audit.key")
    postgres_port, rail_port = free_port(), free_port()
    settings = Settings(
        bootstrap_servers=bootstrap_servers,
        redis_url=redis_url,
        topic_prefix="",
        consumer_group="fraud-demo",
        policy_path=policies / "demo.toml",
        policy_archive=policies,
        feeds_path=directory / "feeds",
        model_registry=registry,
        dead_letter_key_file=directory / "dead-letters.key",
        audit_directory=directory / "audit",
        audit_key_file=directory / "audit.key",
        seal_directory=directory / "seals",
        rail_url=rail_url(rail_port),
        web_host=LOOPBACK,
        web_port=free_port(),
        profile=Profile.DEVELOPMENT,
    )
    return Scene(registry, version, settings, parse_policy(content.encode()), postgres_port, rail_port)


def clean_environment() -> dict[str, str]:
    """Return the caller's environment without its FRAUD_* variables, which the scene sets itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FRAUD_")}


def short_windows(rate: int) -> dict[str, int | list[int]]:
    """Return the breaker's settings for a rate of payments a second."""
    in_window = WINDOW_S * rate
    sample, of_segment = max(in_window * 2 // 3, 20), max(in_window // WINDOW_SHARE, 20)
    return {**SHORT_WINDOWS, "minimum_sample": sample, "segment_minimum_sample": of_segment}


def with_hours_elsewhere(policy_text: str, at_ms: int) -> str:
    """Return a policy whose unusual hours are a minute that lies some hours from a time: made traffic all comes then,
    and where that is at night a third of it would be escalated."""
    begin = min((at_ms // 60_000 + HOURS_AWAY * 60) % DAY_MINUTES, DAY_MINUTES - UNUSUAL_MINUTES)
    hours = rf"\g<1>{begin}\g<2>{begin + UNUSUAL_MINUTES - 1}"
    return re.sub(r'(_minute_of_day", at_least = )\d+(, at_most = )\d+', hours, policy_text)


def with_short_windows(policy_text: str, wanted: Mapping[str, int | list[int]], ending: str) -> str:
    """Return a policy under another version, with its breaker's settings replaced line by line, and other hours."""
    policy_text = with_hours_elsewhere(policy_text, now_ms())
    shipped_version = parse_policy(policy_text.encode()).version
    section, lines, replaced = "", [], set()
    for line in policy_text.splitlines():
        if found := re.match(r"\[+([a-z_.]+)\]+", line):
            section = found[1]
        name = line.partition("=")[0].strip()
        if section == "breaker" and name in wanted:
            line = f"{name} = {wanted[name]}"
            replaced.add(name)
        elif not section and name == "version":
            line = line.replace(shipped_version, f"{shipped_version}-{ending}")
        lines.append(line)
    assert replaced == set(wanted), f"the policy lacks {set(wanted) - replaced}"
    return "\n".join(lines) + "\n"


def block_from_micro(model: Model, policy: Policy) -> int:
    """Return the lowest score that the policy blocks."""
    steps = model.calibration.probability_ppm.searchsorted(policy.model.block_probability_ppm, side="left")
    return int(model.calibration.edges[min(int(steps), len(model.calibration.edges)) - 1])


def golden_rows(manifest: Mapping[str, object]) -> Matrix:
    names, golden = manifest["features"], manifest["golden"]
    assert isinstance(names, list)
    assert isinstance(golden, list)
    rows = np.full((len(golden), len(FEATURES)), NONE, dtype=np.int64)
    for row, vector in enumerate(golden):
        rows[row, [COLUMN[name] for name in names]] = vector["features"]
    return rows
