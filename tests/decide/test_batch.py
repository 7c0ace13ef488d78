from collections import Counter
from random import Random

import pytest

from pipeline.decide.batch import DUPLICATE, Judge, Judged, ObservationWrong, TopicNames
from pipeline.decide.feeds.feed import FeedKind, parse_new_feed
from pipeline.decide.verdict import Mode, regime
from pipeline.domain.decision import BreakerState
from pipeline.domain.features import COLUMN, NONE, STATE, UNKNOWN
from pipeline.domain.identities import decision_id, execution_id
from pipeline.domain.log import Record, Source, Span
from pipeline.domain.payment import payment_digest
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS, RefusalCode
from pipeline.io.avro.wire import WireFormat
from pipeline.io.avro.writers import Release, header_of
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.state.outcome_records import counted_amount_gbp_minor
from pipeline.state.windows import CLAIM_KEPT_MS, MemoryState
from tests.decisions import decision_id_of, decision_of
from tests.records import NOON_MS, PAYMENT, feed_content, feeds, policy, small_model

WIRE = WireFormat()
TOPICS = TopicNames("decisions.v1", "alerts.v1")
CLOSED = Mode(BreakerState.CLOSED, "all", True)
PARTITIONING = Partitioning(Partitioner.CRC32, 13)
ON_1 = "GB29-0038"  # an account whose payments belong on partition 1; PAYMENT belongs on 0


def new_judge(by=None):
    return Judge(regime(policy(), small_model(), by or feeds()), WIRE, TOPICS, "decide/test", PARTITIONING.of)


def record(offset, payment=PAYMENT, *, value=None, partition=0, log_time_ms=NOON_MS):
    encoded = WIRE.encode_transaction(payment) if value is None else value
    return Record(payment.account_id.encode(), encoded, Source(partition, offset, log_time_ms))


def judged(records, state=None, judge=None, now_ms=NOON_MS + 5):
    state = MemoryState() if state is None else state
    judge = judge or new_judge()
    spans = []
    for partition in sorted({r.source.partition for r in records}):
        offsets = [r.source.offset for r in records if r.source.partition == partition]
        spans.append(Span(partition, offsets[0], offsets[-1] + 1, offsets[0]))
    reading = judge.read(records)
    observations = state.observe(judge.state_events(reading, spans))
    return Judged.whole(judge.judge(reading, observations, lambda _t: CLOSED, now_ms))


def decisions_of(result):
    return [decision_of(out.value) for out in result.outgoing if out.topic == "decisions.v1"]


def test_i1_every_record_of_a_batch_comes_out_once():
    second = PAYMENT._replace(transaction_id="tx-2")
    records = [
        record(0),
        record(1, value=b"rubbish"),
        record(2, second),
        record(3),  # the first again
        record(4, PAYMENT._replace(amount_minor=9)),  # its id with another body
        record(0, PAYMENT._replace(transaction_id="tx-3", account_id=ON_1), partition=1),
    ]
    result = judged(records)
    decided = {(d.source_partition, d.source_offset): d.transaction_id for d in decisions_of(result)}
    assert decided == {(0, 0): PAYMENT.transaction_id, (0, 2): "tx-2", (1, 0): "tx-3"}
    assert [(each.record.source.offset, each.code, each.keep_payload) for each in result.set_aside] == [
        (1, RefusalCode.FRAMING_UNKNOWN, True),
        (3, DUPLICATE, False),
        (4, RefusalCode.TRANSACTION_ID_CONFLICT, True),
    ]
    assert result.accounted_for == len(records)
    assert (result.duplicates, dict(result.dead_letters)) == (1, {"FRAMING_UNKNOWN": 1, "TRANSACTION_ID_CONFLICT": 1})


def test_a_payment_whose_segments_stand_in_another_order_is_a_duplicate():
    reordered = PAYMENT._replace(segments=dict(reversed(PAYMENT.segments.items())))
    assert WIRE.encode_transaction(reordered) != WIRE.encode_transaction(PAYMENT)
    result = judged([record(0), record(1, reordered)])
    assert (len(decisions_of(result)), result.duplicates, dict(result.dead_letters)) == (1, 1, {})


def test_a_payment_in_an_earlier_release_of_the_schema_is_a_duplicate():
    value = WIRE.encode_transaction(PAYMENT)
    earlier = header_of(Release("transaction.v1", 1)) + value[10:-1]
    result = judged([record(0), record(1, value=earlier)])
    assert (len(decisions_of(result)), result.duplicates) == (1, 1)
    [decision] = decisions_of(judged([record(0, value=earlier)]))
    assert (decision.decision_id, decision.snapshot.transaction) == (decision_id_of(PAYMENT), PAYMENT)


def test_ids_of_two_systems_are_two_payments():
    payments = [PAYMENT._replace(source_system=name) for name in (None, "cards", "transfers")]
    result = judged([record(offset, payment) for offset, payment in enumerate(payments)])
    assert len({decision.decision_id for decision in decisions_of(result)}) == 3
    assert not result.dead_letters


def test_an_id_that_comes_again_after_7_days_is_a_payment_of_its_own():
    week_later_ms = NOON_MS + CLAIM_KEPT_MS + 1
    other = PAYMENT._replace(amount_minor=9, event_time_ms=week_later_ms)
    soon = judged([record(0), record(1, other, log_time_ms=week_later_ms - 1)])
    assert dict(soon.dead_letters) == {RefusalCode.TRANSACTION_ID_CONFLICT: 1}
    first, second = decisions_of(judged([record(0), record(1, other, log_time_ms=week_later_ms)]))
    assert first.transaction_id == second.transaction_id
    assert first.decision_id != second.decision_id
    executions = {execution_id(each.snapshot.transaction) for each in (first, second)}
    assert len(executions) == 2


def test_a_payment_that_comes_again_after_7_days_is_decided_as_late_and_executed_under_one_id():
    first, second = decisions_of(judged([record(0), record(1, log_time_ms=NOON_MS + CLAIM_KEPT_MS + 1)]))
    assert first.decision_id != second.decision_id
    assert len({execution_id(each.snapshot.transaction) for each in (first, second)}) == 1
    assert second.decision_id == decision_id(PAYMENT, payment_digest(PAYMENT), second.source)


def test_whenever_a_copy_is_decided_its_decision_has_an_id_of_its_own():
    """Also where the payment was dated as far ahead of the log as may be."""
    ahead = PAYMENT._replace(event_time_ms=NOON_MS + FUTURE_TOLERANCE_MS)
    for after_ms in range(CLAIM_KEPT_MS - 2, CLAIM_KEPT_MS + 3):
        result = judged([record(0, ahead), record(1, ahead, log_time_ms=NOON_MS + after_ms)])
        made = decisions_of(result)
        assert len(made) + result.duplicates == 2
        assert len({decision.decision_id for decision in made}) == len(made)


def test_a_late_payment_is_decided_and_no_dead_letter():
    result = judged([record(0, log_time_ms=NOON_MS + 300 * CLAIM_KEPT_MS)])
    assert (len(decisions_of(result)), dict(result.dead_letters)) == (1, {})


def test_no_two_decisions_of_a_stream_whose_references_repeat_share_an_id():
    """References repeat after hours to weeks on other accounts, as on a public stream where 15,048 of 124,996 did."""
    pick, day_ms = Random(20), CLAIM_KEPT_MS // 7
    names = (f"card-{number}" for number in range(1_000))
    cards = [name for name in names if PARTITIONING.of(name.encode()) == 0]
    records, held = [], {}
    expected = Counter[str]()
    for offset in range(4_000):
        at_ms = NOON_MS + offset * day_ms // 50  # 80 days
        name, account = f"ref-{pick.randrange(1_500)}", pick.choice(cards)
        paid = PAYMENT._replace(transaction_id=name, account_id=account, amount_minor=offset, event_time_ms=at_ms)
        is_held = name in held and at_ms - held[name] <= CLAIM_KEPT_MS
        expected["CONFLICT" if is_held else "DECIDED"] += 1
        if not is_held:
            held[name] = at_ms
        records.append(record(offset, paid, log_time_ms=at_ms))
    result = judged(records)
    made = decisions_of(result)
    assert min(expected.values()) > 400
    assert len(made) == expected["DECIDED"] > len(held)
    assert dict(result.dead_letters) == {RefusalCode.TRANSACTION_ID_CONFLICT: expected["CONFLICT"]}
    assert len({decision.decision_id for decision in made}) == len(made)
    assert len({execution_id(decision.snapshot.transaction) for decision in made}) == len(made)


def test_a_conflict_raises_an_alert_whose_id_a_repeat_shares():
    records = [record(0), record(1, PAYMENT._replace(amount_minor=9))]
    alerts = [[out for out in judged(records).outgoing if out.topic == "alerts.v1"] for _ in range(2)]
    assert [len(raised) for raised in alerts] == [1, 1]
    assert alerts[0][0].key == alerts[1][0].key


def test_decisions_are_keyed_like_the_payment_and_carry_its_snapshot():
    result = judged([record(0)])
    assert [out.key for out in result.outgoing] == [PAYMENT.account_id.encode()]
    decision = decisions_of(result)[0]
    assert decision.decision_id == decision_id_of(PAYMENT)
    assert decision.snapshot.transaction == PAYMENT
    assert decision.snapshot.features[COLUMN["account_count_1h"]] == 1
    assert decision.snapshot.features[COLUMN["is_new_beneficiary"]] == 1


def test_what_a_static_guardrail_blocked_counts_towards_nothing():
    state = MemoryState()
    blocked = PAYMENT._replace(transaction_id="tx-b", amount_minor=6_000_000)
    result = judged([record(0, blocked), record(1)], state)
    first, second = decisions_of(result)
    assert (first.route, first.outcome) == ("GUARDRAIL", "BLOCK")
    assert first.snapshot.features[COLUMN["account_count_1h"]] == -1
    assert second.snapshot.features[COLUMN["account_count_1h"]] == 1


@pytest.mark.parametrize(
    ("names", "value", "is_refused"),
    [
        (STATE, NONE, True),  # first seen by a worker whose policy blocks it, or whose row was lost
        (STATE, 0, True),
        (["account_count_1h"], 0, True),
        (["beneficiary_senders_7d"], NONE, True),
        (["account_volume_minor_24h"], PAYMENT.amount_minor - 1, True),
        (["account_volume_minor_24h"], PAYMENT.amount_minor, False),
        (["account_near_limit_count_24h"], 0, False),
        (STATE, UNKNOWN, False),
    ],
)
def test_a_payment_that_counts_is_not_judged_on_what_can_not_be_true_of_it(names, value, is_refused):
    class Altered(MemoryState):
        def observe(self, batch):
            [observation] = super().observe(batch)
            observation.state[:, [STATE.index(name) for name in names]] = value
            return [observation]

    if is_refused:
        with pytest.raises(ObservationWrong, match="partition 0 at 0"):
            judged([record(0)], Altered())
    else:
        assert len(decisions_of(judged([record(0)], Altered()))) == 1
    blocked = PAYMENT._replace(amount_minor=6_000_000)
    [decision] = decisions_of(judged([record(0, blocked)], Altered()))
    assert decision.outcome == "BLOCK"
    assert counted_amount_gbp_minor(decision) == NONE  # nothing leaves the volume by its outcome


def with_dollars_at(gbp):
    content = feed_content(FeedKind.EXCHANGE_RATES)
    assert content.count(b'code = "USD", worth = "0.7610"') == 1
    rates = content.replace(b'code = "USD", worth = "0.7610"', b'code = "USD", worth = "%s"' % gbp)
    return feeds().with_feed(parse_new_feed(rates))


@pytest.mark.parametrize("gbp", [b"0.7611", b"0.7609", b"7.6100", b"0.0761"])
def test_a_batch_that_is_read_again_at_other_rates_is_judged_at_those(gbp):
    """A payment alone comes to the same bytes as if it had never been read before; none is a fault of ours."""
    paid = record(0, PAYMENT._replace(currency="USD", amount_minor=6_000_00))
    state, judge = MemoryState(), new_judge(with_dollars_at(gbp))
    judged([paid], state)
    assert judged([paid], state, judge).outgoing == judged([paid], judge=judge).outgoing


def test_what_an_account_did_before_stays_as_it_was_counted():
    amounts = [76_10, 90_00]  # $100 at the rate before, and at the rate now
    dollars = PAYMENT._replace(currency="USD", amount_minor=100_00)
    first, second = record(0, dollars), record(1, dollars._replace(transaction_id="tx-2"))
    state = MemoryState()
    judged([first, second], state)
    [_, decision] = decisions_of(judged([first, second], state, new_judge(with_dollars_at(b"0.9000"))))
    features = decision.snapshot.features
    assert features[COLUMN["amount_gbp_minor"]] == amounts[1]
    assert features[COLUMN["account_volume_minor_24h"]] == sum(amounts)
    assert features[COLUMN["account_average_minor_24h"]] == sum(amounts) // 2
    assert features[COLUMN["amount_percent_of_earlier_average_30d"]] == round(100 * amounts[1] / amounts[0])


def test_the_limit_in_force_holds_for_a_payment_that_was_counted_below_it():
    """£49,465 when it was counted, £50,050 now: a static guardrail of the policy that judges blocks it."""
    paid = record(0, PAYMENT._replace(currency="USD", amount_minor=65_000_00))
    state = MemoryState()
    judged([paid], state)
    [decision] = decisions_of(judged([paid], state, new_judge(with_dollars_at(b"0.7700"))))
    assert (decision.outcome, decision.rules_triggered) == ("BLOCK", ("HARD_MAX_SINGLE_TRANSACTION",))


def test_a_redelivered_batch_gives_the_same_bytes():
    state = MemoryState()
    records = [record(offset, PAYMENT._replace(transaction_id=f"tx-{offset}")) for offset in range(5)]
    assert judged(records, state).outgoing == judged(records, state).outgoing


def test_what_nobody_asks_for_is_not_kept_and_counts_all_the_same():
    part = judged([record(number, PAYMENT._replace(transaction_id=f"tx-{number}")) for number in range(3)])
    kept, dropped = Judged(), Judged()
    kept.extend(part)
    dropped.extend(part, keeps_decided=False)
    assert [len(kept.decided), len(kept.verdicts), len(dropped.decided), len(dropped.verdicts)] == [3, 3, 0, 0]
    kept.decided, kept.verdicts = [], []
    assert dropped == kept
    assert len(dropped.answers) == len(dropped.outgoing) == dropped.accounted_for == 3


def test_a_poisoned_record_is_set_aside_whole():
    result = new_judge().poison(record(3), NOON_MS)
    assert [(each.record.source.offset, each.code) for each in result.set_aside] == [(3, RefusalCode.POISON)]
    assert result.accounted_for == 1
    assert [out.topic for out in result.outgoing] == ["alerts.v1"]


def test_a_payment_on_another_partition_than_its_account_belongs_to_is_refused_and_told_once():
    state = MemoryState()
    strays = [record(offset, PAYMENT._replace(transaction_id=f"tx-{offset}"), partition=1) for offset in range(3)]
    result = judged([record(0), *strays], state)
    assert [each.code for each in result.set_aside] == [RefusalCode.PARTITION_MISMATCH] * 3
    assert [out.topic for out in result.outgoing] == ["alerts.v1", "decisions.v1"]
    assert decisions_of(result)[0].snapshot.features[COLUMN["account_count_1h"]] == 1
    assert result.accounted_for == 4


def test_a_flood_of_payments_on_a_wrong_partition_is_one_alert_a_minute_with_their_count():
    judge, state, told = new_judge(), MemoryState(), []
    for batch in range(300):  # at ten a second
        strays = [
            record(2 * batch + n, PAYMENT._replace(transaction_id=f"tx-{batch}-{n}"), partition=1) for n in range(2)
        ]
        result = judged(strays, state, judge, now_ms=NOON_MS + 100 * batch)
        told += [WIRE.decode_alert(out.value).summary.partition(" ")[0] for out in result.outgoing]
        again = judged(strays, state, judge, now_ms=NOON_MS + 100 * batch) if batch % 7 == 3 else None
        assert again is None or again.outgoing == result.outgoing, "a batch that wasn't committed is judged again"
    assert ["2"] == told
    assert ["599"] == _told(judge, state, 600, NOON_MS + 60_000)
    assert [] == _told(judge, state, 601, NOON_MS + 61_000)
    assert ["599"] == _told(judge, state, 600, NOON_MS + 62_000), "what was told is told again with its batch"


def _told(judge, state, offset, now_ms):
    stray = record(offset, PAYMENT._replace(transaction_id=f"tx-{offset}"), partition=1)
    result = judged([stray], state, judge, now_ms)
    return [WIRE.decode_alert(out.value).summary.partition(" ")[0] for out in result.outgoing]


def clashing(offset):
    return record(offset, PAYMENT._replace(amount_minor=offset + 9))


def conflicts_told(result):
    alerts = [WIRE.decode_alert(out.value) for out in result.outgoing if out.topic == "alerts.v1"]
    assert {alert.code for alert in alerts} <= {"TRANSACTION_ID_CONFLICT"}
    return [(int(alert.evidence["offset"]), int(alert.evidence["payments"])) for alert in alerts]


def test_a_flood_of_conflicts_is_one_alert_a_minute_and_none_of_them_goes_uncounted():
    judge, state, told = new_judge(), MemoryState(), []
    judged([record(0)], state, judge)
    for batch in range(300):  # at ten a second
        result = judged([clashing(1 + 2 * batch), clashing(2 + 2 * batch)], state, judge, now_ms=NOON_MS + 100 * batch)
        told += conflicts_told(result)
    assert [(1, 2)] == told
    calm = record(601, PAYMENT._replace(transaction_id="tx-calm"))
    assert [] == conflicts_told(judged([calm], state, judge, now_ms=NOON_MS + 59_999))
    for _ in range(2):  # the batch isn't committed, and judged again
        calm = record(602, PAYMENT._replace(transaction_id="tx-calmer"))
        assert [(3, 598)] == conflicts_told(judged([calm], state, judge, now_ms=NOON_MS + 60_000))
    calm = record(603, PAYMENT._replace(transaction_id="tx-calmest"))
    assert [] == conflicts_told(judged([calm], state, judge, now_ms=NOON_MS + 200_000))


def test_what_is_not_told_yet_outlives_a_change_of_the_regime():
    floods, state = {}, MemoryState()
    first, second = (
        Judge(regime(policy(), small_model()), WIRE, TOPICS, "decide/test", PARTITIONING.of, floods) for _ in range(2)
    )
    judged([record(0), clashing(1)], state, first)
    assert [] == conflicts_told(judged([clashing(2)], state, first, now_ms=NOON_MS + 1_000))
    assert [] == conflicts_told(judged([clashing(3)], state, second, now_ms=NOON_MS + 2_000))
    assert [(2, 3)] == conflicts_told(judged([clashing(4)], state, second, now_ms=NOON_MS + 60_005))


def test_a_record_with_another_fault_says_that_one_and_not_its_partition():
    result = judged([record(0, PAYMENT._replace(currency="pounds"), partition=1)])
    assert [each.code for each in result.set_aside] == [RefusalCode.CURRENCY_MALFORMED]


def test_an_account_is_known_to_the_breaker_once_it_paid_before_the_last_day():
    state, day_ms, seen = MemoryState(), 86_400_000, []
    for number, hours in enumerate((0, 1, 23, 26)):
        at_ms = NOON_MS + hours * day_ms // 24
        payment = PAYMENT._replace(transaction_id=f"tx-known-{number}", event_time_ms=at_ms)
        result = judged([record(number, payment, log_time_ms=at_ms)], state, now_ms=at_ms)
        seen += [answer.is_of_known_account for answer in result.answers]
    assert [False, False, False, True] == seen
