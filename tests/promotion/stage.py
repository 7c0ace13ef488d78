"""A registry with keys, people and two versions, its database, and whatever a version must have shown, by real code."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np

from models.artefact.files import load
from models.artefact.scoring import Model
from models.artefact.strict import Json
from models.versions.alias_files import move_alias
from models.versions.approval_files import pinned_approvals, standing_approvals, write_approval
from models.versions.approvals import Grounds
from models.versions.artefact_files import digest_of, read_artefact
from models.versions.evidence import ASKED_KINDS, Evidence, root_of, seed_of
from models.versions.evidence_files import file_evidence, filed_evidence
from models.versions.history import Event
from models.versions.locations import Alias
from models.versions.registry_files import DirectoryRegistry
from models.versions.signature_files import signed_artefact
from pipeline.audit.log_store import AuditLog
from pipeline.decide.policy import parse_new_policy
from pipeline.decide.rollout.limits import HOUR_MS, Promotion
from pipeline.domain.log import LogRecord
from pipeline.domain.trials.shadow_answer import ShadowAnswer
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, connect
from pipeline.keys.artefact_key_files import create_artefact_key
from pipeline.keys.key_files import create_signing_key
from pipeline.keys.key_sets import KeySet, KeyUse, with_key
from pipeline.people.act_store import read_registry
from pipeline.people.roles import Role
from pipeline.promotion.gathering_store import Sources, Terms
from pipeline.promotion.moving_store import Desk, promote, roll_back, step
from pipeline.promotion.moving_store import Outcome as Moved
from pipeline.promotion.store import draw
from pipeline.shadow.answer_store import AnswerStore
from pipeline.shadow.challenger import GlassBox
from pipeline.shadow.comparing import Placed, compare
from pipeline.shadow.review_store import append_review
from pipeline.shadow.reviews import DisagreementVerdict
from pipeline.shadow.summary_store import disagreements_of
from tests.archive import CLOSED, WIRE, payment, stored
from tests.decisions import record_of
from tests.known import appoint, identity
from tests.records import POLICY_PATH
from tests.rollback.stand import WrongArchive
from tests.servers import url_as

APPROVERS = {Role.RISK: "rita", Role.COMPLIANCE: "cora", Role.ENGINEERING: "edda"}
PEOPLE = {"ann": "OPERATOR", "bob": "OPERATOR", "rev": "REVIEWER", **{n: r.value for r, n in APPROVERS.items()}}
LIMITS = Promotion(
    **{
        **tomllib.loads(POLICY_PATH.read_text())["promotion"],
        "shadow_days": 1,
        "shadow_payments": 100,
        "share_hours": 1,
        "share_payments": 20,
        "shares_percent": (1, 10, 50, 100),
    }
)  # fmt: skip
POLICY = "d" * 64
CHAMPION, CANDIDATE, WRONG = "small-1", "small-2", "blocks-all"
DISPUTED = 50
"""Reports of an address from which the candidate allows what the champion blocks."""


class Stage:
    """`small-1` is champion; `small-2` answers nearly the same, and `blocks-all` blocks everything."""

    def __init__(self, folder: Path, owner: Connection, database_url: str) -> None:
        self.owner, self.database_url, self.folder = owner, database_url, folder
        self.archive = WrongArchive(folder)
        self.archive._add(CANDIDATE, 1, _trusting)
        self.registry = DirectoryRegistry(self.archive.registry)
        signing = create_signing_key(folder / "models.pem", KeyUse.MODELS, with_set=False)
        artefacts = create_artefact_key(folder / "artefacts.pem", with_set=False)
        self.keys = with_key(KeySet({}), KeyUse.MODELS, signing.public, 0)
        self.keys = with_key(self.keys, KeyUse.ARTEFACTS, artefacts.public, 0)
        for version in (CHAMPION, CANDIDATE, WRONG):
            contents = read_artefact(self.registry, version)
            self.registry.create(f"{version}/model.sig", signed_artefact(version, contents, artefacts))
        self.frauds: list[str] = []
        self.signing = signing
        self.desk = Desk(Sources(self.registry, self.archive.regime_of), self.keys, signing, lambda: self.frauds)
        # On the first days of a month, what was decided 36 hours ago is of the month before.
        owner.execute("SELECT control.ensure_month(now() - interval '2 days')")
        appoint(owner, PEOPLE)
        self.people = connect(url_as(database_url, "fraud_incident"), "test")
        self._log, self._offset = AuditLog("decisions.v1", folder / "anchors", WIRE, lambda: self.now_ms * 1000), 0
        self._log.open(owner, [0])
        self._begin()

    def close(self) -> None:
        self.people.close()

    @property
    def now_ms(self) -> int:
        return server_now_ms(self.owner)

    def approve(self, version: str, *roles: Role, answer: str = "", policy: str = POLICY) -> None:
        root = read_registry(self.owner).root
        grounds = Grounds(root_of(filed_evidence(self.registry, version, self.keys)), policy, answer)
        for role in roles or tuple(APPROVERS):
            write_approval(self.registry, version, role, identity(APPROVERS[role]), self.now_ms, root, grounds)

    def prove(self, version: str, *kinds: str, passed: bool = True, beside: str = CHAMPION, at_ms: int = 0) -> None:
        assert LIMITS.red_team is not None
        digest, champion = digest_of(self.registry, version), digest_of(self.registry, beside)
        figures: dict[str, Json] = {
            "champion": {"version": beside, "digest": champion},
            "policy_sha256": POLICY,
            "seed": seed_of(digest, champion, POLICY, draw(self.owner, digest, champion, POLICY)),
            "budget": LIMITS.red_team.budget,
            "trials": LIMITS.red_team.trials,
        }
        for kind in kinds or ASKED_KINDS:
            at = at_ms or self.now_ms
            found = Evidence(kind, version, digest, at, passed, () if passed else ("it rose",), figures)
            file_evidence(self.people, self.registry, found, self.signing)

    def shadow(self, version: str, payments: int = 200, differing: int = 2, beside: str = CHAMPION) -> None:
        """Have a version answer beside the champion: yesterday but one, and now."""
        for at_ms, count, wrong in ((self.now_ms - 36 * HOUR_MS, 1, 0), (self.now_ms, payments, differing)):
            self.answer(version, self.decided(beside, count, wrong, at_ms))

    def decided(self, version: str, count: int, disputed: int, at_ms: int) -> list[Placed]:
        """Have a version decide, and return the decisions: every second is a BLOCK, and CANDIDATE allows `disputed`."""
        self.archive.decide_by(version)
        first, amounts = self._offset, [5_000 * (1 + number % 36) for number in range(count)]
        paid = [payment(first + number, amount_minor=amount) for number, amount in enumerate(amounts)]
        reports = [DISPUTED if number < disputed else number % 2 * 5 for number in range(count)]
        values = [
            self.archive.values([each], [CLOSED], ip_fraud_reports=said)[0]
            for each, said in zip(paid, reports, strict=True)
        ]
        self._store(values, at_ms)
        return [Placed(stored(value), 0, first + place, at_ms) for place, value in enumerate(values)]

    def answer(self, version: str, decided: Sequence[Placed]) -> None:
        """Have a version in the shadow answer about decisions."""
        challenger = GlassBox(load(self.archive.registry / version))
        self.claim(challenger, compare(decided, challenger, self.archive.regime_of))

    def claim(self, challenger: GlassBox, answers: Sequence[ShadowAnswer]) -> None:
        """Write answers with the credential of the shadow, whatever they say."""
        with closing(connect(url_as(self.database_url, "fraud_shadow"), "test")) as connection:
            store = AnswerStore(challenger, "decisions.v1")
            store.next_offsets(connection, [0], {0: 0})
            store.append(connection, answers, [])

    def review(self, version: str) -> None:
        """Review every disagreement."""
        digest = bytes.fromhex(digest_of(self.registry, version))
        with closing(connect(url_as(self.database_url, "fraud_review"), "test")) as connection:
            for each in disagreements_of(connection, digest, 1000):
                verdict, reason = DisagreementVerdict.CHALLENGER_RIGHT, "the payee is known to the payer"
                append_review(connection, digest, each, verdict, reason, identity("rev"))

    def ready(self, version: str = CANDIDATE) -> None:
        """Let a version show all that it must."""
        self.prove(version)
        self.shadow(version)
        self.review(version)
        self.approve(version)

    def decide(self, version: str, count: int) -> list[str]:
        """Store so many decisions of a version as of now; return the payments' ids."""
        self.archive.decide_by(version)
        payments = [payment(self._offset + number) for number in range(count)]
        self._store(self.archive.values(payments, [CLOSED] * count), self.now_ms)
        return [each.transaction_id for each in payments]

    def trip(self, scope: str, event: str = "TRIP") -> None:
        """Store a transition of the breaker as the incident service does."""
        self.owner.execute(
            "INSERT INTO control.breaker_transition (alert_id, scope, event, before_state, after_state, version,"
            " author, cause, counts, evidence, at, topic_partition, topic_offset) VALUES (%s, %s, %s, 'CLOSED', 'OPEN',"
            " 1, 'monitor', 'it blocks 90 %% of all payments', '{}', '{}', clock_timestamp(), 0, 0)",
            [uuid4(), scope, event],
        )

    def promote(self, version: str = CANDIDATE, by: str = "ann", limits: Promotion | None = LIMITS) -> Moved:
        return promote(self.people, self.desk, identity(by), version, "it finds more fraud", Terms(limits, POLICY))

    def step(self, by: str = "ann", limits: Promotion = LIMITS) -> Moved:
        return step(self.people, self.desk, identity(by), "it does well so far", Terms(limits, POLICY))

    def roll_back(self, to: str | None = None, by: str = "ann", reason: str = "it stops too many") -> Moved:
        return roll_back(self.people, self.desk, identity(by), to, reason)

    def texts(self, outcome: Moved) -> list[str]:
        assert outcome.record is None
        return [each.text for each in outcome.refusals]

    def rows(self) -> Sequence[tuple[object, ...]]:
        return self.owner.execute(
            "SELECT sequence, event, version, share_ppm, moved_by FROM control.model_move ORDER BY sequence"
        ).fetchall()

    def _begin(self) -> None:
        self.approve(CHAMPION)
        standing = standing_approvals(self.registry, CHAMPION, read_registry(self.owner), self.now_ms)
        move_alias(
            self.registry, self.keys, self.signing, alias=Alias.CHAMPION, version=CHAMPION, by="ann",
            at_ms=self.now_ms, event=Event.BEGUN, approvals=pinned_approvals(self.registry, standing),
        )  # fmt: skip

    def _store(self, values: Sequence[bytes], at_ms: int) -> None:
        read = [record_of(value) for value in values]
        records = [
            LogRecord(0, offset, at_ms, each.account_id.encode(), value, each)
            for offset, (each, value) in enumerate(zip(read, values, strict=True), start=self._offset)
        ]
        self._log.store(self.owner, records)
        self._offset += len(values)


def _trusting(model: Model) -> Model:
    """Take the model, but that as many reports as DISPUTED tell nothing against a payment."""
    reports, amounts = model.terms
    [edges], table = reports.edges, reports.table
    reports = reports._replace(edges=(np.append(edges, DISPUTED),), table=np.append(table, -500_000))
    return replace(model, terms=(reports, amounts))


def shipped_limits() -> Promotion | None:
    return parse_new_policy(POLICY_PATH.read_bytes()).promotion
