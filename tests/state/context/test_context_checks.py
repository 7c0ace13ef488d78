"""What is taken in from a context topic, what withdraws, and what is refused."""

from __future__ import annotations

import pytest

from pipeline.domain.context import Account, Label, RiskSignal, RiskSignalKind
from pipeline.domain.log import Record, Source
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS, Refusal, RefusalCode
from pipeline.state.context.context_checks import (
    NORMAL_MONTH_MINOR_MAX,
    AccountWithdrawn,
    RiskSignalWithdrawn,
    checked,
    withdrawn,
)
from tests.records import NOON_MS

ACCOUNT = Account("acc-1", NOON_MS, 160_000)
SIGNAL = RiskSignal(RiskSignalKind.DEVICE, "device-1", 3, NOON_MS)
ADDRESS = RiskSignal(RiskSignalKind.IP_ADDRESS, "192.0.2.1", 3, NOON_MS)
LABEL = Label("tx-1", "acc-1", "payee-1", NOON_MS - 1, True, NOON_MS, "desk")
KEYS = {Account: "account_id", RiskSignal: "key", Label: "beneficiary_account_id"}
MICROSECONDS = NOON_MS * 1000
SECONDS = NOON_MS // 1000


def record(key: str | bytes | None, log_time_ms: int = NOON_MS) -> Record:
    return Record(key.encode() if isinstance(key, str) else key, None, Source(0, 7, log_time_ms))


def keyed(content: Account | RiskSignal | Label, log_time_ms: int = NOON_MS) -> Record:
    return record(str(getattr(content, KEYS[type(content)])), log_time_ms)


def code(content: Account | RiskSignal | Label, its: Record | None = None) -> RefusalCode | None:
    answer = checked(content, its or keyed(content))
    return answer.code if isinstance(answer, Refusal) else None


@pytest.mark.parametrize(
    "content",
    [
        ACCOUNT,
        SIGNAL,
        ADDRESS,
        LABEL,
        ACCOUNT._replace(normal_month_gbp_minor=None),
        ACCOUNT._replace(normal_month_gbp_minor=NORMAL_MONTH_MINOR_MAX),
        SIGNAL._replace(fraud_reports=0),
        ACCOUNT._replace(updated_at_ms=NOON_MS + FUTURE_TOLERANCE_MS),
        SIGNAL._replace(observed_at_ms=1_420_070_400_000),
    ],
)
def test_what_is_sound_is_taken_in(content: Account | RiskSignal | Label) -> None:
    assert checked(content, keyed(content)) == content


@pytest.mark.parametrize("time_ms", [-1, 0, SECONDS, 1_420_070_399_999, 2_493_072_000_000, MICROSECONDS])
@pytest.mark.parametrize(
    ("content", "field"),
    [
        (ACCOUNT, "updated_at_ms"),
        (SIGNAL, "observed_at_ms"),
        (LABEL, "labelled_at_ms"),
        (LABEL, "event_time_ms"),
    ],
)
def test_a_time_in_another_unit_is_refused(content: Account | RiskSignal | Label, field: str, time_ms: int) -> None:
    changed = content._replace(**{field: time_ms})
    assert code(changed) is RefusalCode.TIME_OUT_OF_RANGE


@pytest.mark.parametrize(
    "content",
    [
        ACCOUNT._replace(updated_at_ms=NOON_MS + FUTURE_TOLERANCE_MS + 1),
        SIGNAL._replace(observed_at_ms=NOON_MS + FUTURE_TOLERANCE_MS + 1),
        LABEL._replace(labelled_at_ms=NOON_MS + FUTURE_TOLERANCE_MS + 1),
        LABEL._replace(event_time_ms=NOON_MS + FUTURE_TOLERANCE_MS + 1),
    ],
)
def test_a_time_that_its_record_can_not_know_is_refused(content: Account | RiskSignal | Label) -> None:
    assert code(content) is RefusalCode.TIME_IN_FUTURE


@pytest.mark.parametrize("content", [ACCOUNT, SIGNAL, LABEL])
@pytest.mark.parametrize("log_time_ms", [-1, 0, MICROSECONDS])
def test_a_record_without_a_usable_time_of_its_own_is_refused(
    content: Account | RiskSignal | Label, log_time_ms: int
) -> None:
    assert code(content, keyed(content, log_time_ms)) is RefusalCode.TIME_OUT_OF_RANGE


@pytest.mark.parametrize("content", [ACCOUNT, SIGNAL, ADDRESS, LABEL])
@pytest.mark.parametrize(
    "key",
    [
        None, b"", b"other", b"\xff", b"192.0.2.1", b"device-1", b"DEVICE:other", b"DEVICE:192.0.2.1",
        b"IP_ADDRESS:device-1", b"IP_ADDRESS:192.0.2.1 ", b"IP_ADDRESS:::ffff:192.0.2.1", b"ip_address:192.0.2.1",
    ],
)  # fmt: skip
def test_a_key_that_names_another_entity_is_refused(content: Account | RiskSignal | Label, key: bytes | None) -> None:
    assert code(content, record(key)) is RefusalCode.KEY_MISMATCH


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (ACCOUNT._replace(account_id="acc 1"), RefusalCode.IDENTIFIER_INVALID),
        (ACCOUNT._replace(account_id="a" * 65), RefusalCode.IDENTIFIER_INVALID),
        (ACCOUNT._replace(normal_month_gbp_minor=-1), RefusalCode.AMOUNT_OUT_OF_RANGE),
        (ACCOUNT._replace(normal_month_gbp_minor=NORMAL_MONTH_MINOR_MAX + 1), RefusalCode.AMOUNT_OUT_OF_RANGE),
        (SIGNAL._replace(fraud_reports=-1), RefusalCode.AMOUNT_OUT_OF_RANGE),
        (SIGNAL._replace(entity=""), RefusalCode.DEVICE_INVALID),
        (SIGNAL._replace(entity="device 1"), RefusalCode.DEVICE_INVALID),
        (SIGNAL._replace(entity="d" * 10_000), RefusalCode.DEVICE_INVALID),
        (ADDRESS._replace(entity="device-1"), RefusalCode.IP_ADDRESS_INVALID),
        (ADDRESS._replace(entity="192.0.2.1%1"), RefusalCode.IP_ADDRESS_INVALID),
        (LABEL._replace(transaction_id=""), RefusalCode.IDENTIFIER_INVALID),
        (LABEL._replace(account_id="a\u0301"), RefusalCode.IDENTIFIER_INVALID),
        (LABEL._replace(labelled_by="x" * 141), RefusalCode.TEXT_INVALID),
        (LABEL._replace(labelled_by="x" * 15_000), RefusalCode.TEXT_INVALID),
        (LABEL._replace(labelled_by="ann\n"), RefusalCode.TEXT_INVALID),
    ],
)
def test_junk_is_refused(content: Account | RiskSignal | Label, expected: RefusalCode) -> None:
    assert code(content) is expected


SPELLINGS = ["::ffff:192.0.2.1", "::ffff:c000:201", "64:ff9b::c000:201", "2002:c000:201::"]


@pytest.mark.parametrize("spelling", [*SPELLINGS, "192.0.2.1"])
def test_a_report_on_any_spelling_of_an_address_is_one_on_the_address(spelling: str) -> None:
    assert checked(ADDRESS._replace(entity=spelling), keyed(ADDRESS)) == ADDRESS


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_key_in_another_spelling_is_refused_since_compaction_would_keep_both(spelling: str) -> None:
    signal = ADDRESS._replace(entity=spelling)
    for answer in (checked(signal, keyed(signal)), withdrawn("risk_signals.v1", record(signal.key))):
        assert isinstance(answer, Refusal)
        assert answer.code is RefusalCode.KEY_MISMATCH
        assert "canonical spelling" in answer.detail


def test_a_device_that_is_named_like_an_address_has_another_key() -> None:
    device = SIGNAL._replace(entity=ADDRESS.entity)
    assert checked(device, keyed(device)) == device
    assert keyed(device).key != keyed(ADDRESS).key


def test_a_tombstone_of_an_account_withdraws_what_it_declared() -> None:
    assert withdrawn("accounts.v1", record("acc-1")) == AccountWithdrawn("acc-1")


@pytest.mark.parametrize(
    "signal", [SIGNAL, ADDRESS, SIGNAL._replace(entity="192.0.2.1"), SIGNAL._replace(entity="a:b")]
)
def test_a_tombstone_of_a_signal_withdraws_the_kind_that_its_key_says(signal: RiskSignal) -> None:
    assert withdrawn("risk_signals.v1", record(signal.key)) == RiskSignalWithdrawn(signal.kind, signal.entity)


def test_a_tombstone_of_a_label_is_refused_with_what_to_do_instead() -> None:
    answer = withdrawn("labels.v1", record("payee-1"))
    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.RECORD_EMPTY
    assert "take a label back by another, with fraud = false" in answer.detail


@pytest.mark.parametrize("topic", ["accounts.v1", "risk_signals.v1"])
@pytest.mark.parametrize("key", [None, b"", b"\xff", b"a b", b"k" * 100])
def test_a_tombstone_that_names_nobody_is_refused(topic: str, key: bytes | None) -> None:
    answer = withdrawn(topic, record(key))
    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.IDENTIFIER_INVALID


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("192.0.2.1", RefusalCode.IDENTIFIER_INVALID),
        ("CARD:1", RefusalCode.IDENTIFIER_INVALID),
        ("IP_ADDRESS:device-1", RefusalCode.IP_ADDRESS_INVALID),
        ("DEVICE:", RefusalCode.DEVICE_INVALID),
    ],
)
def test_a_tombstone_that_names_no_signal_is_refused(key: str, expected: RefusalCode) -> None:
    answer = withdrawn("risk_signals.v1", record(key))
    assert isinstance(answer, Refusal)
    assert answer.code is expected


def test_a_tombstone_without_a_usable_time_is_refused() -> None:
    answer = withdrawn("accounts.v1", record("acc-1", -1))
    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.TIME_OUT_OF_RANGE


def test_no_refusal_quotes_the_record() -> None:
    for content in (
        ACCOUNT._replace(account_id="secret one"),
        ADDRESS._replace(entity="secret"),
        SIGNAL._replace(entity="secret one"),
        LABEL._replace(transaction_id="secret one"),
    ):
        answer = checked(content, keyed(content))
        assert isinstance(answer, Refusal)
        assert "secret" not in answer.detail
