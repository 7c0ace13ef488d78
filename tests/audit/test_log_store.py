"""The audit log on PostgreSQL: stored once, in order, with its leaves outside the database first."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pipeline.audit.chain import ENTRY_BYTES, Entry, Times, Tree, grown, leaf_hash
from pipeline.audit.leaf_files import LeafFileBusy, leaf_path, partitions_of, read_entries
from pipeline.audit.log_store import AuditBroken, AuditLog, RecordRefused
from pipeline.domain.decision import Decision
from pipeline.domain.identities import execution_id
from pipeline.domain.times import claim_ms
from pipeline.io.postgres import Connection, DatabaseUnavailable, PositionMoved, connect
from tests.audit.logs import PARTITIONS, TOPIC, WIRE, Bench, record, records, values
from tests.decisions import avro_fields, decision_of
from tests.records import NOON_MS

COUNT = 20
UNFILED = Times(NOON_MS, 0)
"""The month of the records has no partition."""
FIRST = decision_of(values(1)[0])
TABLES = ("ai_decision_log", "reversal_log", "review_log")


DAY_MS = 86_400_000
NOW_MS = time.time_ns() // 1_000_000
WRONG_MS = [0, DAY_MS, 1_546_300_800_000, NOW_MS + 430 * DAY_MS, NOW_MS + 40 * DAY_MS, -1, 2**62, -(2**62)]
"""1970, 1970-01-02, 2019, 14 months and 40 days ahead, and what is no time at all."""


def at(at_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)


def stored(bench: Bench) -> list[tuple[object, ...]]:
    rows = []
    for table in TABLES:
        query = f"SELECT topic_partition, topic_offset, record, leaf_hash, chain_hash, recorded_at FROM audit.{table}"
        rows += bench.rows(query)
    return sorted(rows)


def expected(of: list) -> list[tuple[int, int, bytes]]:
    return sorted((each.partition, each.offset, each.value) for each in of)


def test_every_record_is_stored_as_it_stood_with_leaf_and_chain(bench: Bench) -> None:
    bench.open()
    bench.store(records(COUNT))
    rows = stored(bench)
    assert expected(records(COUNT)) == [row[:3] for row in rows]
    for partition in PARTITIONS:
        entries = list(read_entries(leaf_path(bench.outside, TOPIC, partition)))
        theirs = [row for row in rows if row[0] == partition]
        assert [leaf_hash(partition, row[1], UNFILED, row[2]) for row in theirs] == [entry.leaf for entry in entries]
        assert [entry.leaf for entry in entries] == [row[3] for row in theirs]
        trees = [grown(Tree(), entries[: end + 1]) for end in range(len(entries))]
        assert [tree.chain for tree in trees] == [row[4] for row in theirs]
        at = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=entry.recorded_at_us) for entry in entries]
        assert at == [row[5] for row in theirs]


def test_columns_say_what_the_record_says(bench: Bench) -> None:
    bench.open()
    bench.store(records(COUNT))
    fields = avro_fields(FIRST)
    query = """SELECT decision_id::text, transaction_id, account_id, agent_id, model_version, model_hash,
        policy_version, policy_hash, input_hash, input_snapshot, decision, (confidence * 10000)::int, reasoning,
        reasons, rules_triggered, route, breaker_state, breaker_scope, execution_id::text, created_at, source_partition,
        source_offset, topic_partition, topic_offset
        FROM audit.ai_decision_log ORDER BY topic_offset, topic_partition"""
    assert (
        fields["decision_id"],
        fields["transaction_id"],
        fields["account_id"],
        fields["agent_id"],
        fields["model_version"],
        fields["model_hash"],
        fields["policy_version"],
        fields["policy_hash"],
        fields["input_hash"].hex(),
        fields["snapshot"],
        fields["outcome"],
        fields["confidence_bp"],
        fields["summary"],
        fields["reasons"],
        fields["rules_triggered"],
        fields["route"],
        fields["breaker_state"],
        fields["breaker_scope"],
        execution_id(FIRST.snapshot.transaction),
        datetime.fromtimestamp(NOON_MS / 1000, UTC) + timedelta(milliseconds=7),
        0,
        0,
        0,
        0,
    ) == bench.rows(query)[0]


@pytest.mark.parametrize("confidence_bp", [0, 1, 9, 10, 999, 5000, 9731, 9999, 10_000])
def test_confidence_is_exact(bench: Bench, confidence_bp: int) -> None:
    bench.open()
    bench.store([record(0, FIRST._replace(confidence_bp=confidence_bp))])
    written = f"{confidence_bp // 10_000}.{confidence_bp % 10_000:04}"
    assert [(written,)] == bench.rows("SELECT confidence::text FROM audit.ai_decision_log")


def test_view_shows_review_and_reversal_beside_the_decision(bench: Bench) -> None:
    bench.open()
    bench.store(records(COUNT))
    query = "SELECT reviewed_by, reviewed_outcome, reversal_id IS NOT NULL FROM audit.ai_decision ORDER BY topic_offset"
    rows = bench.rows(query)
    assert 3 == rows.count(("rita", "ALLOW", False))
    assert 3 == rows.count((None, None, True))
    assert COUNT == len(rows)


def test_batches_leave_no_trace_but_in_the_links(bench: Bench) -> None:
    bench.open()
    for one in records(COUNT):
        bench.store([one])
    chains = [row[:5] for row in stored(bench)]
    assert expected(records(COUNT)) == [row[:3] for row in chains]
    assert len(records(COUNT)) == bench.rows("SELECT count(*)::int FROM audit.chain_link")[0][0]
    assert {p: tree.last_offset + 1 for p, tree in bench.log.trees.items()} == bench.restart()


def test_redelivered_records_are_refused_by_the_position(bench: Bench) -> None:
    bench.open()
    bench.store(records(COUNT))
    other = AuditLog(
        TOPIC, bench.folder / "elsewhere", WIRE, lambda: 1
    )  # another machine that believes to be at the start
    other._trees = {partition: Tree() for partition in PARTITIONS}
    with connect(bench.url, "other") as connection, pytest.raises(LeafFileBusy):
        AuditLog(TOPIC, bench.outside, WIRE, lambda: 1).open(connection, PARTITIONS)
    rows = stored(bench)
    with connect(bench.url, "other") as connection, pytest.raises(AuditBroken):
        other.open(connection, PARTITIONS)
    assert rows == stored(bench)


def test_two_that_believe_a_partition_theirs_store_it_once(bench: Bench) -> None:
    bench.open()
    other = AuditLog(TOPIC, bench.folder / "elsewhere", WIRE, lambda: 1)
    with connect(bench.url, "other") as connection:
        other.open(connection, PARTITIONS)
        bench.store(records(COUNT))
        with pytest.raises(PositionMoved):
            other.store(connection, records(COUNT))
        other.close()
    assert expected(records(COUNT)) == [row[:3] for row in stored(bench)]


def test_after_a_kill_between_leaf_file_and_commit_the_log_goes_on(bench: Bench) -> None:
    bench.open()
    bench.store(records(COUNT)[:5])
    bench.log._prove(records(COUNT)[5:15], [UNFILED] * 10)  # on disk outside; the transaction never comes
    ahead = {p: list(read_entries(leaf_path(bench.outside, TOPIC, p))) for p in PARTITIONS}
    bench.restart()
    bench.store(records(COUNT)[5:])
    for partition, entries in ahead.items():  # what was there has stayed, its time of recording included
        assert entries == list(read_entries(leaf_path(bench.outside, TOPIC, partition), 0, len(entries)))
    assert expected(records(COUNT)) == [row[:3] for row in stored(bench)]
    bench.restart()


def test_entry_cut_short_by_a_crash_is_written_again(bench: Bench) -> None:
    bench.open()
    bench.store(records(COUNT)[:5])
    bench.close()
    with leaf_path(bench.outside, TOPIC, 0).open("ab") as file:
        file.write(bytes(ENTRY_BYTES - 1))
    bench.restart()
    bench.store(records(COUNT)[5:])
    assert expected(records(COUNT)) == [row[:3] for row in stored(bench)]
    bench.restart()


def test_leaf_file_ahead_with_another_record_stops_the_log(bench: Bench) -> None:
    bench.open()
    bench.log._files[0].append([Entry(0, 1, bytes(32))])
    with pytest.raises(AuditBroken, match="another record than the topic at offset 0"):
        bench.store(records(COUNT))
    assert [] == stored(bench)


def test_lost_leaf_file_stops_the_log(bench: Bench) -> None:
    bench.open()
    bench.store(records(COUNT))
    leaf_path(bench.outside, TOPIC, 1).unlink()
    with pytest.raises(AuditBroken, match="holds 0 entries"):
        bench.restart()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit.chain_link SET chain_hash = decode(repeat('00', 32), 'hex')",
        "DELETE FROM audit.chain_link WHERE (topic_partition, tree_size) IN (SELECT topic_partition, max(tree_size) "
        "FROM audit.chain_link GROUP BY 1)",
        "UPDATE control.consumer_position SET next_offset = next_offset - 4",
    ],
)
def test_tampered_database_stops_the_log_when_it_starts(bench: Bench, statement: str) -> None:
    bench.open()
    bench.store(records(COUNT)[:10])
    bench.store(records(COUNT)[10:])
    assert bench.as_superuser(statement) > 0
    with pytest.raises(AuditBroken):
        bench.restart()


def cut_tail(bench: Bench) -> None:
    """As if the last batch had never come: its rows, links and positions."""
    for table in TABLES:
        bench.as_superuser(f"DELETE FROM audit.{table} WHERE topic_offset >= 20")
    bench.as_superuser("DELETE FROM audit.chain_link WHERE last_offset >= 20")
    bench.as_superuser("UPDATE control.consumer_position SET next_offset = last_offset + 1 FROM audit.chain_link "
                       "WHERE consumer = 'audit' AND partition = topic_partition")  # fmt: skip


def test_cut_tail_under_a_signed_head_stops_the_log_until_it_is_told_to_refill(bench: Bench) -> None:
    every = records(COUNT)
    head, tail = ([each for each in every if (each.offset < 20) == is_head] for is_head in (True, False))
    bench.open()
    bench.store(head)
    bench.store(tail)
    before = stored(bench)
    bench.anchor()
    cut_tail(bench)
    with pytest.raises(AuditBroken, match="rows are gone"):
        bench.restart()
    bench.close()
    refilled = AuditLog(TOPIC, bench.outside, WIRE, lambda: 1, is_refill=True)
    with connect(bench.url, "refill") as connection:
        refilled.open(connection, PARTITIONS)
        refilled.store(connection, tail)
        refilled.close()
    assert before == stored(bench)  # times of recording and chain included
    bench.restart()


def test_decision_without_reasoning_is_refused_named_and_all_before_it_kept(bench: Bench) -> None:
    bench.open()
    every = records(COUNT)
    place = next(n for n, each in enumerate(every) if n > 8 and isinstance(each.content, Decision))
    poison = every[place]
    number = poison.offset // 4 * 2 + poison.partition
    every[place] = record(number, poison.content._replace(summary=" \t"))
    with pytest.raises(
        RecordRefused, match=rf"decisions.v1\[{poison.partition}\] at {poison.offset} .*reasoning_is_given"
    ):
        bench.store(every)
    assert expected(every[:place]) == [row[:3] for row in stored(bench)]
    bench.restart()
    with pytest.raises(RecordRefused):  # started again it stands at the same place: nothing is passed over
        bench.store(every[place:])
    assert expected(every[:place]) == [row[:3] for row in stored(bench)]


@pytest.mark.parametrize("changes", [{"decision_id": "no uuid"}, {"confidence_bp": 10_001}])
def test_field_without_a_place_in_its_column_is_refused_by_name(bench: Bench, changes: dict[str, object]) -> None:
    bench.open()
    with pytest.raises(RecordRefused, match=r"decisions.v1\[0\] at 0 can't be stored"):
        bench.store([record(0, FIRST._replace(**changes))])
    assert [] == stored(bench)


def test_refusal_quotes_nothing_of_the_row(bench: Bench) -> None:
    bench.open()
    with pytest.raises(RecordRefused) as raised:
        bench.store([record(0, FIRST._replace(summary=""))])
    assert "Jane Smith" not in f"{raised.value}{raised.value.__cause__}"


def test_audit_role_can_neither_change_nor_remove(bench: Bench) -> None:
    bench.open()
    bench.store(records(COUNT))
    for table in (*TABLES, "chain_link", "dead_letter"):
        for act in (f"UPDATE audit.{table} SET recorded_at = now()", f"DELETE FROM audit.{table}"):
            with psycopg.connect(bench.url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(act.encode())
        with psycopg.connect(bench.url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"TRUNCATE audit.{table}".encode())


@pytest.mark.parametrize("act", ["UPDATE {} SET recorded_at = now()", "DELETE FROM {}", "TRUNCATE {}"])
def test_even_the_owner_is_refused_by_the_triggers(bench: Bench, act: str) -> None:
    bench.open()
    bench.store(records(COUNT))
    for table in ("ai_decision_log", "ai_decision_log_unfiled", "chain_link"):
        with psycopg.connect(bench.owner_url) as connection, pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute(act.format(f"audit.{table}").encode())


def test_record_is_filed_under_the_brokers_time_where_its_month_was_made(bench: Bench, owner: Connection) -> None:
    owner.execute("SELECT control.ensure_partition(logged, %s) FROM unnest(%s::regclass[]) AS logged",
                  [at(NOON_MS), [f"audit.{table}" for table in TABLES]])  # fmt: skip
    bench.open()
    bench.store(records(COUNT))
    query = "SELECT tableoid::regclass::text, logged_at, filed_at FROM audit.ai_decision_log"
    month = f"audit.ai_decision_log_{at(NOON_MS):%Y_%m}"
    assert {(month, at(NOON_MS), at(NOON_MS))} == set(bench.rows(query))


@pytest.mark.parametrize("broker_ms", WRONG_MS, ids=range(len(WRONG_MS)))
@pytest.mark.parametrize("claimed_ms", [*WRONG_MS, NOON_MS], ids=range(len(WRONG_MS) + 1))
def test_no_clock_of_worker_or_broker_stops_the_log(bench: Bench, broker_ms: int, claimed_ms: int) -> None:
    wrong = record(0, FIRST._replace(decided_at_ms=claimed_ms))._replace(timestamp_ms=broker_ms)
    bench.open()
    bench.store([wrong, record(2, FIRST)])
    query = "SELECT tableoid::regclass::text, created_at, logged_at, filed_at FROM audit.ai_decision_log"
    held = at(claim_ms(claimed_ms)), at(claim_ms(broker_ms)), at(0)
    assert ("audit.ai_decision_log_unfiled", *held) == bench.rows(f"{query} ORDER BY topic_offset")[0]
    bench.restart()
    bench.store([record(4, FIRST)])
    assert [(3,)] == bench.rows("SELECT count(*)::int FROM audit.ai_decision_log")


def test_month_made_between_a_kill_and_the_restart_changes_no_leaf(bench: Bench, owner: Connection) -> None:
    bench.open()
    bench.log._prove(records(COUNT)[:10], [UNFILED] * 10)  # on disk outside; the transaction never comes
    owner.execute("SELECT control.ensure_partition(logged, %s) FROM unnest(%s::regclass[]) AS logged",
                  [at(NOON_MS), [f"audit.{table}" for table in TABLES]])  # fmt: skip
    bench.restart()
    bench.store(records(COUNT))
    assert expected(records(COUNT)) == [row[:3] for row in stored(bench)]
    filed = bench.rows("SELECT DISTINCT filed_at FROM audit.ai_decision_log ORDER BY 1")
    assert [(at(0),), (at(NOON_MS),)] == filed
    bench.restart()


def test_server_that_goes_away_is_named_and_costs_nothing(bench: Bench) -> None:
    bench.open()
    bench.store(records(COUNT)[:10])
    bench.server.kill()
    with pytest.raises(DatabaseUnavailable):
        bench.store(records(COUNT)[10:])
    bench.server.start()
    bench.restart()
    bench.store(records(COUNT)[10:])
    assert expected(records(COUNT)) == [row[:3] for row in stored(bench)]


def test_leaf_files_are_found_by_topic(bench: Bench) -> None:
    bench.open()
    assert list(PARTITIONS) == partitions_of(bench.outside, TOPIC)
