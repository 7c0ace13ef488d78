"""The property of this folder finds what it is for: each of these mistakes, put into the code, is found by it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest

from models.artefact import asking
from pipeline.decide import batch, verdict
from pipeline.decide.rules import RuleTable, hits_of
from pipeline.decide.verdict import Mode, verdicts_of
from pipeline.domain import features
from pipeline.domain.features import ACCOUNT_STATE, NONE, STATE, UNKNOWN
from pipeline.domain.outcome import OutcomeKind
from pipeline.state import windows
from pipeline.state.outcomes import AccountOutcomes
from tests.permissive.faults import FAULTS
from tests.permissive.path import Path
from tests.permissive.trials import Known, Trials, known, try_out
from tests.permissive.world import DAY_MS

WORLDS = 60
"""Most worlds that a mistake may take to be found; most take one or two."""


@lru_cache(maxsize=2 * WORLDS)
def told(seed: int, without: frozenset[str] = frozenset()) -> Known:
    """The world with what is decided by code without a mistake."""
    return known(seed, without)


def unknown_is_zero(patch: pytest.MonkeyPatch) -> None:
    def lenient(table: RuleTable, rows: np.ndarray):
        return hits_of(table, np.where(rows == UNKNOWN, 0, rows))

    patch.setattr(verdict, "hits_of", lenient)


def model_is_asked_on_unknown(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verdict, "_silent", lambda rows, failed, in_force: {})


def unknown_is_none(patch: pytest.MonkeyPatch) -> None:
    """What a state lacks is said to be absent."""
    real = windows.enter_unknown

    def lenient(state, *rest):
        real(state, *rest)
        state[state == UNKNOWN] = NONE

    patch.setattr(windows, "enter_unknown", lenient)


def coverage_is_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(windows, "enter_unknown", lambda *_: None)


def claimed_opening_date_is_believed(patch: pytest.MonkeyPatch) -> None:
    """An account is known whole where its payment says that it was opened after what the state lacks."""
    opened_ms: dict[str, int] = {}
    believed = [*range(len(ACCOUNT_STATE)), *(STATE.index(name) for name in STATE if "_fraud_run_" in name)]
    event_of, enter_unknown = batch.Judge._state_event, windows.enter_unknown

    def with_claim(self, payment):
        transaction = payment.decoded.transaction
        opened_ms[transaction.transaction_id] = transaction.account_opened_epoch_day * DAY_MS
        return event_of(self, payment)

    def lenient(state, events, month_blocks, positions, coverage, delay_ms):
        before = state.copy()
        enter_unknown(state, events, month_blocks, positions, coverage, delay_ms)
        for row, event in enumerate(events):
            if opened_ms.get(event.transaction_id, 0) > coverage.payments_ms + DAY_MS:
                state[row, believed] = before[row, believed]

    patch.setattr(batch.Judge, "_state_event", with_claim)
    patch.setattr(windows, "enter_unknown", lenient)


def refused_counts_as_made(patch: pytest.MonkeyPatch) -> None:
    real = AccountOutcomes.apply

    def lenient(self, outcome, **whole):
        if outcome.kind is OutcomeKind.WITHDRAWN:
            outcome = outcome._replace(kind=OutcomeKind.MADE, made_at_ms=outcome.payment_time_ms)
        real(self, outcome, **whole)

    patch.setattr(AccountOutcomes, "apply", lenient)


def attempted_counts_as_made(patch: pytest.MonkeyPatch) -> None:
    place, new = STATE.index("is_unpaid_beneficiary"), STATE.index("is_new_beneficiary")
    real = windows.Windows.observe

    def lenient(self, event, **asked):
        row = list(real(self, event, **asked))
        row[place] = row[new]
        return tuple(row)

    patch.setattr(windows.Windows, "observe", lenient)


def failed_model_allows(patch: pytest.MonkeyPatch) -> None:
    def lenient(model, rows):
        try:
            return asking.score(model, rows)
        except IndexError:
            quiet = np.zeros_like(rows)
            return asking.score(model, quiet + (quiet[:, :1] + 1))

    patch.setattr(asking, "_answer", lenient)


def nonsense_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(asking, "_are_sound", lambda model, scores: np.ones(len(scores.score_micro), dtype=np.bool_))


def any_row_is_judged(patch: pytest.MonkeyPatch) -> None:
    """Zeros and −1s of a payment that counts pass for an account that has done nothing."""
    patch.setattr(batch, "_refuse_impossible", lambda *_: None)


def short_answers_are_spread(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(batch, "_refuse_incomplete", lambda *_: None)


def unknown_breaker_is_closed(patch: pytest.MonkeyPatch) -> None:
    def lenient(rows, modes, in_force, *, own):
        return verdicts_of(rows, [Mode(each.state, each.scope, True) for each in modes], in_force, own=own)

    patch.setattr(batch, "verdicts_of", lenient)


def ratio_to_nothing_is_none(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(features, "_enter_percent_of_month", lambda _: None)


def snapshot_of_what_was_not_counted_is_empty(patch: pytest.MonkeyPatch) -> None:
    """A payment that was first observed as not counted keeps that answer (and any row is judged)."""
    any_row_is_judged(patch)
    real = windows.MemoryState._observe

    def lenient(self, share, progress, is_passing):
        return real(self, share, progress, True)

    patch.setattr(windows.MemoryState, "_observe", lenient)


def copy_is_taken_for_current(patch: pytest.MonkeyPatch) -> None:
    """A state that is behind goes on from where the batch begins, as if it had seen all."""
    real = windows.MemoryState._progress_at

    def lenient(self, partition, start_offset, initial, since_ms):
        progress = real(self, partition, start_offset, True, since_ms or 0)
        progress.since_ms = NONE
        return progress

    patch.setattr(windows.MemoryState, "_progress_at", lenient)
    patch.setattr(Path, "rebuild", lambda self: None)


MISTAKES: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    unknown_is_zero: "state/lost, log cut",
    model_is_asked_on_unknown: "state/UNKNOWN",
    unknown_is_none: "state/lost, log cut",
    coverage_is_dropped: "state/restored, log cut",
    claimed_opening_date_is_believed: "state/restored, log cut",
    refused_counts_as_made: "payments/timeout",
    attempted_counts_as_made: "payments/duplicate",
    failed_model_allows: "model/exception",
    nonsense_is_believed: "model/zero",
    any_row_is_judged: "state/zero",
    short_answers_are_spread: "state/truncated",
    unknown_breaker_is_closed: "breaker/UNKNOWN",
    ratio_to_nothing_is_none: "payments/timeout",
    snapshot_of_what_was_not_counted_is_empty: "state/stale",
    copy_is_taken_for_current: "state/restored",
}
"""The mistakes, and the fault under which each shows; some show without any."""
COVERED: dict[Callable[[pytest.MonkeyPatch], None], frozenset[str]] = {
    attempted_counts_as_made: frozenset({"SOFT_UNUSUAL_AMOUNT", "SOFT_UNUSUAL_AGAIN"}),
}
"""Mistakes that other rules make good: an account of these worlds has no past in which a large payment is usual."""


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_fail_open_is_found(mistake, monkeypatch):
    [fault] = [fault for fault in FAULTS if fault.name == MISTAKES[mistake]]
    for seed in range(WORLDS):
        world, trials = told(seed, COVERED.get(mistake, frozenset())), Trials()
        with monkeypatch.context() as patch:
            mistake(patch)
            try_out(trials, world, fault)
        if trials.violations:
            return
    pytest.fail(f"{mistake.__name__} was not found in {WORLDS} worlds")
