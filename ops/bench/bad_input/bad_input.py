"""Hundreds of bad records pass through the worker on the real stack, among sound payments.

Each record's outcome is looked up by its position in the log. It must be a dead letter with the right code, or a BLOCK
by the right guardrail; never an ALLOW, and never a crash. All the sound payments must be decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from ops.bench.bad_input.bad_case import DAY_MS, EVENT_TIME_MS, SOUND, Case, changed
from ops.bench.bad_input.bad_records import cases
from ops.bench.loss.checker import CONFLICT, DUPLICATE, Checker
from ops.bench.rig.payments import payments
from ops.bench.rig.services import worker_process
from ops.bench.rig.stored import IntakePosition, Tail, decision_of, letter_of
from ops.bench.rig.supervision import running
from ops.bench.rig.topics_io import prepare_topics
from ops.bench.rig.waiting import wait_committed
from ops.stack.real import RealStack
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings

SEED: Final = 5
SOUND_PAYMENTS: Final = 2_000
SECONDS_MAX: Final = 600
DECIDED: Final = frozenset({"ALLOW", "BLOCK", "ESCALATE"})
_DAILY_MINOR: Final = 4_900_000


class Answer(NamedTuple):
    """The answer to one record: a dead letter's code, or a decision's outcome and the rules behind it."""

    codes: frozenset[str]
    outcome: str | None


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    with RealStack(folder / "stack") as stack:
        prepare_topics(stack.bootstrap_servers, "")
        worker = worker_process(folder, stack.bootstrap_servers, stack.redis_url)
        with running(worker):
            pid, groups = worker.pid, _groups(200 if is_quick else SOUND_PAYMENTS)
            placed: dict[IntakePosition, Case] = {}
            for group in groups:
                placed |= _publish(stack.bootstrap_servers, group)
            say(f"{len(placed)} records published")
            wait_committed(stack.bootstrap_servers, len(placed), SECONDS_MAX, "deciding on the records")
            has_survived = worker.is_running and worker.pid == pid
        answers = _answers(stack.bootstrap_servers)
        report = Checker(stack.bootstrap_servers, "", [Settings().policy_path]).check()
    wrong = [wrong for position, case in placed.items() if (wrong := _wrong(case, answers.get(position)))]
    bad = {position: case for position, case in placed.items() if case.expected != DECIDED}
    return {
        "ok": not wrong and report.is_whole and has_survived,
        "bad_records": len(bad),
        "with_one_right_answer": sum(len(case.expected) == 1 for case in bad.values()),
        "sound_records": len(placed) - len(bad),
        "answered_as_expected": len(placed) - len(wrong),
        "wrong": wrong[:20],
        "allowed_bad_records": sum(answers[position].outcome == "ALLOW" for position in bad if position in answers),
        "same_process_at_the_end": has_survived,
        "codes": dict(
            Counter(code for position in bad if position in answers for code in answers[position].codes).most_common()
        ),
        **report.as_json(),
    }


def _groups(sound_payments: int) -> list[list[Case]]:
    """Return groups of cases, to be published one after the other; within a group the order is seeded."""
    first = [*cases(), *_sound(sound_payments), changed("original", *DECIDED, transaction_id="original")]
    Random(SEED).shuffle(first)  # noqa: S311 - an order, seeded on purpose
    return [first, _after()]


def _sound(count: int) -> Iterable[Case]:
    for number, record in enumerate(islice(payments(WireFormat(), count), count)):
        yield Case(f"sound {number}", record.key, record.value, DECIDED, record.timestamp_ms)


def _after() -> list[Case]:
    """Return the cases that depend on earlier ones, in the order that they need."""
    amount = SOUND["amount_minor"]
    found = [
        changed("published again", DUPLICATE, transaction_id="original"),
        changed("published a third time", DUPLICATE, transaction_id="original"),
        changed("same id, another amount", CONFLICT, transaction_id="original", amount_minor=amount + 1),
        changed("same id, another beneficiary", CONFLICT, transaction_id="original", beneficiary_account_id="X"),
        changed("same id, another account", CONFLICT, transaction_id="original", account_id="GB29-0003"),
        changed(
            "same payment, segments in another order",
            DUPLICATE,
            transaction_id="original",
            segments=_reversed_segments(),
        ),
        changed("same id, above the limit", CONFLICT, transaction_id="original", amount_minor=5_000_001),
    ]
    spender = {"account_id": "GB29-spender", "amount_minor": _DAILY_MINOR}
    found += [changed(f"large payment {number}", *DECIDED, **spender) for number in range(1, 5)]
    found += [
        changed(f"beyond the daily volume {number}", "HARD_MAX_DAILY_VOLUME", **spender) for number in range(1, 4)
    ]
    late = {"event_time_ms": EVENT_TIME_MS - 8 * DAY_MS, "account_opened_epoch_day": 17_000}
    found.append(changed("8 days late", *DECIDED, **late))
    found.append(changed("8 days late, to North Korea", "HARD_SANCTIONED_COUNTRY", beneficiary_country="KP", **late))
    return found


def _reversed_segments() -> dict[str, str]:
    return dict(reversed(SOUND["segments"].items()))


def _publish(bootstrap_servers: str, group: Iterable[Case]) -> Mapping[IntakePosition, Case]:
    """Publish the cases; return the case of each position."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "message.max.bytes": 2_000_000,
            "queue.buffering.max.messages": 100_000,
        }
    )
    placed: dict[IntakePosition, Case] = {}

    def deliver(case: Case) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            assert error is None, f"{case.name} could not be published: {error}"
            assert partition is not None, "a delivered record has a position"
            assert offset is not None, "a delivered record has a position"
            placed[IntakePosition(partition, offset)] = case

        return delivered

    for case in group:
        producer.produce(
            "transactions.v1", case.value, case.key, timestamp=case.timestamp_ms, on_delivery=deliver(case)
        )
        producer.poll(0)
    left = producer.flush(SECONDS_MAX)
    assert left == 0, f"{left} records were not acknowledged"
    return placed


def _answers(bootstrap_servers: str) -> dict[IntakePosition, Answer]:
    answers: dict[IntakePosition, Answer] = {}
    for found in Tail(bootstrap_servers, "transactions.dead.v1").news():
        letter = letter_of(found.value)
        answers[letter.position] = Answer(frozenset({letter.code}), None)
    for found in Tail(bootstrap_servers, "decisions.v1").news():
        decision = decision_of(found.key, found.value)
        fields = decision.fields
        answers[decision.position] = Answer(frozenset(fields["rules_triggered"]), fields["outcome"])
    return answers


def _wrong(case: Case, answer: Answer | None) -> str | None:
    """Return what is wrong with the answer, or None."""
    if answer is None:
        return f"{case.name}: no answer"
    if case.expected == DECIDED:
        return None if answer.outcome is not None else f"{case.name}: refused as {set(answer.codes)}"
    is_stopped = answer.outcome in (None, "BLOCK")
    if is_stopped and answer.codes and answer.codes <= case.expected:
        return None
    return f"{case.name}: {answer.outcome or 'dead letter'} {sorted(answer.codes)}, not {sorted(case.expected)}"
