"""What the audit service checks before it continues a log, and what it refuses to continue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from ops.stack.embedded import EmbeddedStack
from pipeline.audit.chain import ENTRY_BYTES
from pipeline.audit.continuing.bounds import EVERYTHING, Bounds, NotContinued
from pipeline.audit.head import head_of_anchor
from pipeline.audit.leaf_files import head_paths, leaf_path, read_entries, read_head
from pipeline.keys.key_files import create_signing_key, replace_key_set
from pipeline.keys.key_sets import KeyUse, with_key, with_revocation
from tests.audit.continuing.outside import MINUTE_MS, Continuing, forge_heads, forge_leaves, sign_heads
from tests.audit.logs import TOPIC, WIRE, Bench, records
from tests.records import NOON_MS

COUNT = 40
FLIPPED = "set_byte(record, length(record) - 1, get_byte(record, length(record) - 1) # 1)"
LOG = "audit.ai_decision_log"


@pytest.fixture
def log(bench: Bench, stack: EmbeddedStack) -> Iterator[Continuing]:
    """Two partitions, two heads of each, which the witness has seen, and rows that no head covers."""
    opened = Continuing(bench, stack.bootstrap_servers)
    every = records(COUNT)
    bench.open()
    for begin, end, at_ms in ((0, 15, NOON_MS), (15, 30, NOON_MS + 4 * MINUTE_MS)):
        bench.store(every[begin:end])
        opened.anchor(at_ms)
        opened.witness(at_ms + MINUTE_MS)
    bench.store(every[30:])
    yield opened
    opened.close()


def edit(log: Continuing, offset: int = 16) -> None:
    where = f"topic_partition = 0 AND topic_offset = {offset}"
    assert 1 == log.bench.as_superuser(f"UPDATE {LOG} SET record = {FLIPPED} WHERE {where}")


def test_an_untouched_log_is_continued_however_little_is_read(log: Continuing) -> None:
    found = log.check()
    assert (4, len(records(COUNT)), len(records(COUNT)), 4, 2) == found.looked
    assert {0, 1} == found.outside.published.keys()
    assert found.looked == log.check(EVERYTHING, is_still=False).looked
    little = log.check(Bounds(2, 2, 2, 1, 1)).looked
    assert (2, 2) == (little.heads, little.rows)
    log.bench.restart()
    assert found.looked == log.check().looked


def test_an_empty_log_is_continued(bench: Bench, stack: EmbeddedStack) -> None:
    opened = Continuing(bench, stack.bootstrap_servers)
    bench.open()
    assert 0 == sum(opened.check().looked)
    opened.close()


FORGERIES: dict[str, tuple[Callable[[Continuing], None], str]] = {
    "a row": (edit, "row at offset 16 of partition 0 .* is not as it was written"),
    "a row is deleted": (
        lambda log: log.bench.as_superuser(f"DELETE FROM {LOG} WHERE topic_partition = 0 AND topic_offset = 16"),
        "row at offset 16 of partition 0 .* is missing",
    ),
    "a row is inserted": (
        lambda log: log.bench.as_superuser(
            f"UPDATE {LOG} SET topic_partition = 1, topic_offset = 17 WHERE topic_partition = 0 AND topic_offset = 16"
        ),
        "missing|never written",
    ),
    "a row is appended": (
        lambda log: log.bench.as_superuser(
            f"UPDATE {LOG} SET topic_offset = 5000 WHERE topic_partition = 0 AND topic_offset = 16"
        ),
        "missing",
    ),
    "a chain value": (
        lambda log: log.bench.as_superuser(
            f"UPDATE {LOG} SET chain_hash = sha256(chain_hash) WHERE topic_partition = 1 AND topic_offset = 16"
        ),
        "row at offset 16 of partition 1 .* is not as it was written",
    ),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_row_is_not_continued_nor_after_a_restart(log: Continuing, what: str) -> None:
    forge, why = FORGERIES[what]
    forge(log)
    for _ in range(2):
        with pytest.raises(NotContinued, match=why):
            log.check()
        log.bench.restart()


def test_rows_and_leaves_that_agree_are_held_against_the_heads(log: Continuing) -> None:
    edit(log)
    forge_leaves(log.bench, 0)
    with pytest.raises(NotContinued, match="another root than the head of size"):
        log.check()


def test_heads_signed_anew_with_another_key_are_not_continued(log: Continuing) -> None:
    edit(log)
    forge_leaves(log.bench, 0)
    forge_heads(log.bench, 0, create_signing_key(log.bench.folder / "thief"))
    log.bench.close()
    log.bench.restart()
    with pytest.raises(NotContinued, match=r"(?s)another head of partition 0|is not in the key set"):
        log.check()


@pytest.mark.parametrize("where", ["anchors.v1", "witness.v1"])
def test_a_history_rewritten_with_the_service_s_own_key_is_held_against_each_topic(log: Continuing, where: str) -> None:
    """Rows, leaves and heads agree, and every signature holds: only what stands outside says otherwise."""
    edit(log)
    forge_leaves(log.bench, 0)
    forge_heads(log.bench, 0, log.bench.key)
    only = Bounds(2**62, 2**62, 2**62, *((1000, 0) if where == "anchors.v1" else (0, 1000)))
    for _ in range(2):
        log.bench.restart()
        with pytest.raises(NotContinued, match=f"{where} has another head of partition 0 .* than the files"):
            log.check(only)


def test_a_log_cut_back_behind_its_last_head_is_not_continued(log: Continuing) -> None:
    """Rows, links, position, leaves and heads are put back to where the first head stood."""
    bench = log.bench
    first, second = head_paths(bench.outside, TOPIC, 0)
    size = int(first.stem)
    offset = bench.rows(
        f"SELECT topic_offset FROM (SELECT topic_offset FROM {LOG} WHERE topic_partition = 0 UNION ALL SELECT "
        "topic_offset FROM audit.reversal_log WHERE topic_partition = 0 UNION ALL SELECT topic_offset FROM "
        f"audit.review_log WHERE topic_partition = 0) AS logged ORDER BY 1 OFFSET {size} LIMIT 1"
    )[0][0]
    for table in ("ai_decision_log", "reversal_log", "review_log"):
        bench.as_superuser(f"DELETE FROM audit.{table} WHERE topic_partition = 0 AND topic_offset >= {offset}")
    second.unlink()
    forge_leaves(bench, 0)
    assert size * ENTRY_BYTES == leaf_path(bench.outside, TOPIC, 0).stat().st_size
    bench.restart()
    with pytest.raises(NotContinued, match=f"over .* records, and the database holds {size}"):
        log.check()


def test_a_head_that_is_gone_from_the_files_is_missed(log: Continuing) -> None:
    head_paths(log.bench.outside, TOPIC, 1)[0].unlink()
    with pytest.raises(NotContinued, match="not among the files"):
        log.check()
    with pytest.raises(NotContinued, match="does not name the one before it"):
        log.check(Bounds(2**62, 2**62, 2**62, 0, 0))


def test_what_nobody_trusted_signed_is_counted_and_proves_nothing(log: Continuing) -> None:
    thief = create_signing_key(log.bench.folder / "thief")
    log.send("anchors.v1", b"rubbish")
    (value,) = [value for _, value in published(log, thief)]
    log.send("anchors.v1", value)
    honest = log.statement
    log.witness(NOON_MS, thief)  # a statement signed by whoever
    log.statement = honest
    log.send("witness.v1", b"rubbish")
    assert 4 == log.check().outside.foreign


def test_another_history_by_an_ended_key_proves_nothing_however_it_is_dated(log: Continuing) -> None:
    """Whoever finds an old key, and may write to the topic, would stop the log for good."""
    (value,) = [value for _, value in published(log, log.key)]
    log.send("anchors.v1", value)
    with pytest.raises(NotContinued, match="not among the files"):
        log.check()
    key, turn_ms = create_signing_key(log.bench.folder / "next", with_set=False), NOON_MS + 6 * MINUTE_MS
    replace_key_set(log.bench.key_set_path, with_key(log.bench.keys(), KeyUse.AUDIT, key.public, turn_ms, turn_ms))
    assert 1 == log.check().outside.foreign
    assert {0, 1} == log.check().outside.published.keys(), "what it signed in its time stands"


def published(log: Continuing, key) -> list[tuple[bytes, bytes]]:

    entries = list(read_entries(leaf_path(log.bench.outside, TOPIC, 0)))[:3]
    (signed,) = sign_heads(log.bench.folder / "elsewhere", 0, entries, [(3, NOON_MS)], key)
    assert head_of_anchor(signed.anchor([])) == signed.head
    return [(b"decisions.v1:0", WIRE.encode(signed.anchor([])))]


def test_an_anchor_whose_proof_does_not_hold_is_not_continued(log: Continuing) -> None:
    first, second = (read_head(path) for path in head_paths(log.bench.outside, TOPIC, 0))
    for signed in (first, second):
        log.send("anchors.v1", WIRE.encode(signed.anchor([bytes(32)])), b"decisions.v1:0")
    with pytest.raises(NotContinued, match=r"the proof on anchors\.v1 that partition 0"):
        log.check()


def test_rotation_is_continued_by_the_next_key(log: Continuing) -> None:
    key = create_signing_key(log.bench.folder / "next", with_set=False)
    turn_ms = NOON_MS + 6 * MINUTE_MS
    replace_key_set(log.bench.key_set_path, with_key(log.bench.keys(), KeyUse.AUDIT, key.public, turn_ms, turn_ms))
    log.check()
    with pytest.raises(NotContinued, match="was valid only until"):
        log.anchor(turn_ms + 1)
    log.key = key
    log.anchor(turn_ms + 1)
    log.bench.restart()
    assert 6 == log.check().looked.heads


def test_a_revoked_key_s_heads_count_where_the_witness_saw_them_before(log: Continuing) -> None:
    key_id, at_ms = log.bench.key.key_id, NOON_MS + 10 * MINUTE_MS
    replace_key_set(log.bench.key_set_path, with_revocation(log.bench.keys(), key_id, at_ms, "The host was entered."))
    assert 4 == log.check().looked.heads
    with pytest.raises(NotContinued, match="revoked since"):
        log.anchor(at_ms + 1)


@pytest.mark.parametrize("is_forged", [False, True])
def test_what_only_a_revoked_key_vouches_for_is_read_back_from_the_topic(
    bench: Bench, stack: EmbeddedStack, is_forged: bool
) -> None:
    """The key was in a thief's hands when it signed: only the topic can say which records there were."""
    log = Continuing(bench, stack.bootstrap_servers)
    offsets = {0: count(), 1: count()}
    every = [each._replace(offset=next(offsets[each.partition])) for each in records(COUNT)]
    bench.open()
    bench.store(every)
    log.anchor(NOON_MS)
    for each in every:
        is_other = is_forged and (each.partition, each.offset) == (1, 7)
        log.send(TOPIC, each.value + b"!" if is_other else each.value, each.key, each.partition, each.timestamp_ms)
    replace_key_set(bench.key_set_path, with_revocation(bench.keys(), bench.key.key_id, NOON_MS - 1, "It was copied."))
    if is_forged:
        with pytest.raises(NotContinued, match="a revoked key signed another record at offset 7 of partition 1"):
            log.check()
    else:
        assert 2 == log.check().looked.heads
    log.close()


def test_an_unknown_key_stops_the_log(log: Continuing) -> None:
    other = create_signing_key(log.bench.folder / "other", valid_from_ms=0)
    log.bench.key_set_path.write_text((log.bench.folder / "other.keys").read_text())
    with pytest.raises(NotContinued, match=f"the key {log.bench.key.key_id} is not in the key set"):
        log.check()
    assert other.key_id != log.bench.key.key_id


def test_heads_that_could_not_be_published_are_published_when_the_log_is_continued(log: Continuing) -> None:
    """Two heads of each partition were signed while the broker was away."""
    bench = log.bench
    every = records(COUNT + 8)
    for begin, end in ((COUNT, COUNT + 4), (COUNT + 4, COUNT + 8)):
        bench.store([each for each in every if each not in records(COUNT)][begin - COUNT : end - COUNT])
        bench.anchor(NOON_MS + 8 * MINUTE_MS)  # onto no topic
    assert {3, 4} & {len(head_paths(bench.outside, TOPIC, p)) for p in (0, 1)}
    log.anchor(NOON_MS + 9 * MINUTE_MS)
    found = log.check()
    assert found.looked.heads == found.looked.anchors
