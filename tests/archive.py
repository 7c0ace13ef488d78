"""An archive of its own for tests: the shipped policy, a small model's artefact, and decisions made under them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.artefact.files import golden_json, load, tables_json, write
from models.artefact.vectors import golden_vectors
from pipeline.decide.decision_encoder import DecisionEncoder, with_position
from pipeline.decide.event_features import EventRows
from pipeline.decide.feeds.feed import FeedKind
from pipeline.decide.phrase_books.money import foreign_money
from pipeline.decide.verdict import Mode, Regime, decide, regime
from pipeline.domain.decision import BreakerState, StoredDecision
from pipeline.domain.features import COLUMN, EVENT, FEATURES, STATE_SLICE, feature_matrix
from pipeline.domain.log import Source
from pipeline.domain.payment import Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.regimes import Missing, RegimeKey
from tests.records import NOON_MS, PAYMENT, POLICY_PATH, decoded_of, features, feed_content, feeds, policy, small_model

WIRE = WireFormat()
CLOSED = Mode(BreakerState.CLOSED, "all", True)
OPEN = Mode(BreakerState.OPEN, "model:small-1", False)
MODEL_FEATURES = ("ip_fraud_reports", "amount_gbp_minor", "is_new_beneficiary")


class Archive:
    """Folders `policies` and `registry` under `folder`, and the regime that they hold."""

    def __init__(self, folder: Path) -> None:
        self.policies, self.registry = folder / "policies", folder / "registry"
        self.policies.mkdir()
        shutil.copy(POLICY_PATH, self.policies)
        for kind in FeedKind:
            (self.policies / f"{kind}.toml").write_bytes(feed_content(kind))
        small = small_model("small-1")
        rows = np.zeros((64, len(FEATURES)), dtype=np.int64)
        rows[:, COLUMN["amount_gbp_minor"]] = np.arange(64) * 5_000
        rows[:, COLUMN["ip_fraud_reports"]] = np.arange(64) % 5
        write(
            self.registry / "small-1",
            tables_json(small),
            b"# For tests\n",
            {
                "features": list(MODEL_FEATURES),
                "typical": dict(small.typical),
                "training": {},
                "metrics": {},
                "golden": golden_json(golden_vectors(small, rows, MODEL_FEATURES)),
                "approvals": [],
            },
        )
        (self.registry / "champion").write_text("small-1\n")
        self.in_force: Regime = regime(policy(), load(self.registry / "small-1"), feeds())

    def regime_of(self, key: RegimeKey) -> Regime | Missing:
        """From the folders as they are now."""
        return RegimeArchive(self.policies, self.registry).regime_of(key)

    def values(
        self,
        payments: Sequence[Transaction],
        modes: Sequence[Mode],
        sources: Sequence[Source] | None = None,
        **state: int,
    ) -> list[bytes]:
        """The payments' decisions, as the worker encodes them, with a quiet account's state but for `state`."""
        event = np.array([EventRows(policy(), feeds()).row(payment, NOON_MS) for payment in payments], dtype=np.int64)
        quiet = features(**state)[:, STATE_SLICE]
        matrix = feature_matrix(event, np.repeat(quiet, len(payments), axis=0))
        assert matrix.shape[1] == len(FEATURES) > len(EVENT)
        encoder = DecisionEncoder(WIRE.header("decision.v1"), self.in_force, "decide/test")
        decoded = [decoded_of(payment) for payment in payments]
        if sources is None:
            sources = [Source(place % 4, place, NOON_MS) for place in range(len(payments))]
        verdicts = decide(matrix, modes, self.in_force, own=[foreign_money(payment) for payment in payments])
        return encoder.encode(decoded, sources, with_position(matrix, -1), verdicts, [NOON_MS + 7] * len(payments))


def payment(number: int, **fields: object) -> Transaction:
    return PAYMENT._replace(transaction_id=f"tx-{number:06d}", account_id=f"GB29-{number % 50:04d}", **fields)


def stored(value: bytes) -> StoredDecision:
    found = WIRE.decode_stored_decision(value)
    assert isinstance(found, StoredDecision), found
    return found
