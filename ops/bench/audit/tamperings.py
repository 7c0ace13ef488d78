"""Tamperings that a superuser may do to the stored log, in SQL with every trigger switched off.

Each is a function that does it once, at random, and says which rows it touched. The transaction belongs to the caller,
who rolls it back. A row that only the deletion or insertion of another row moves counts as untouched, because nothing
in it has changed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psycopg

from ops.verifier.columns import TABLES
from pipeline.audit.chain import CHAIN_START, Entry, Times, chain_hash, entry_bytes, leaf_hash

LOG: Final = "ai_decision_log"


class RowKey(NamedTuple):
    table: str
    partition: int
    offset: int


class Tampered(NamedTuple):
    """The rows that were touched, as (partition, offset): changed, removed or inserted; none where only links were."""

    rows: frozenset[tuple[int, int]]
    partitions: frozenset[int]


@dataclass(frozen=True, slots=True)
class Forger:
    """A superuser's connection, the keys of all rows as they were written, and chance."""

    connection: psycopg.Connection[Any]
    keys: Mapping[int, Sequence[RowKey]]  # by partition, in the order of the topic
    chance: random.Random

    def key(self, table: str | None = None) -> RowKey:
        """Choose any row, or any row in `table`."""
        while True:
            found = self.chance.choice(self.keys[self.partition()])
            if table in (None, found.table):
                return found

    def partition(self) -> int:
        return self.chance.choice(list(self.keys))

    def run(self, statement: str, *arguments: object) -> None:
        changed = self.connection.execute(statement.encode(), arguments).rowcount
        assert changed > 0, f"it changed nothing: {statement}"


def at(key: RowKey) -> str:
    return f"topic_partition = {key.partition} AND topic_offset = {key.offset}"


def tampered(*keys: RowKey) -> Tampered:
    rows = frozenset((key.partition, key.offset) for key in keys)
    return Tampered(rows, frozenset(key.partition for key in keys))


# Edits of one row

_FLIP: Final = "set_byte({0}, {1}, get_byte({0}, {1}) # {2})"
_CHANGES: Final[Mapping[str, str]] = {
    "decision_id": "gen_random_uuid()",
    "transaction_id": "transaction_id || '1'",
    "account_id": "reverse(account_id) || '-'",
    "agent_id": "agent_id || ' '",
    "model_version": "model_version || '.1'",
    "model_hash": "sha256(model_hash)",
    "policy_version": "policy_version || '.1'",
    "policy_hash": "sha256(policy_hash)",
    "input_hash": "encode(sha256(input_hash::bytea), 'hex')",
    "input_snapshot": "jsonb_set(input_snapshot, '{transaction,amount_minor}', to_jsonb("
    "(input_snapshot #>> '{transaction,amount_minor}')::bigint + 1))",
    "decision": "CASE decision WHEN 'ALLOW' THEN 'BLOCK' ELSE 'ALLOW' END",
    "confidence": "CASE WHEN confidence > 0.5 THEN confidence - 0.0001 ELSE confidence + 0.0001 END",
    "reasoning": "reasoning || '.'",
    "reasons": "reasons || '[]'::jsonb || jsonb_build_array('{}'::jsonb)",
    "rules_triggered": "rules_triggered || '[\"EXTRA\"]'::jsonb",
    "route": "CASE route WHEN 'MODEL' THEN 'FALLBACK' ELSE 'MODEL' END",
    "breaker_state": "CASE breaker_state WHEN 'OPEN' THEN 'CLOSED' ELSE 'OPEN' END",
    "breaker_scope": "breaker_scope || '*'",
    "execution_id": "gen_random_uuid()",
    "created_at": "created_at + interval '1 microsecond'",
    "logged_at": "logged_at + interval '1 millisecond'",
    "filed_at": "filed_at + interval '1 millisecond'",
    "source_partition": "source_partition + 1",
    "source_offset": "source_offset + 1",
    "leaf_hash": "sha256(leaf_hash)",
    "chain_hash": "sha256(chain_hash)",
    "recorded_at": "recorded_at - interval '1 microsecond'",
}
_PLACE: Final = (
    "'\\x00'::bytea || int4send(topic_partition) || int8send(topic_offset) || "
    "int8send((extract(epoch FROM logged_at) * 1000)::bigint) || "
    "int8send((extract(epoch FROM filed_at) * 1000)::bigint)"
)
_CHANGES_OF: Final[Mapping[str, Mapping[str, str]]] = {
    LOG: _CHANGES,
    "reversal_log": {
        "approved_by": "approved_by || 'x'", "requested_by": "approved_by || 'y'", "reason": "'none of it'",
        "reversed_outcome": "reversed_outcome || 'ED'", "corrected_outcome": "coalesce(corrected_outcome, '') || 'X'",
        "plan_id": "plan_id || '2'", "replaces_kind": "'OTHER'", "replaces_id": "gen_random_uuid()::text",
        "plan_digest": "plan_digest || '0'", "reversal_id": "gen_random_uuid()", "recorded_at": _CHANGES["recorded_at"],
    },
    "review_log": {
        "reviewed_by": "reviewed_by || 'x'", "outcome": "outcome || 'ED'", "reason": "'none of it'",
        "second_reviewer": "coalesce(second_reviewer, '') || 'z'", "review_id": "gen_random_uuid()",
        "chain_hash": _CHANGES["chain_hash"], "recorded_at": _CHANGES["recorded_at"],
    },
}  # fmt: skip


def edit_column(forger: Forger) -> Tampered:
    key = forger.key(forger.chance.choice(TABLES))
    column, change = forger.chance.choice(list(_CHANGES_OF[key.table].items()))
    forger.run(f"UPDATE audit.{key.table} SET {column} = {change} WHERE {at(key)}")
    return tampered(key)


def edit_snapshot(forger: Forger) -> Tampered:
    """Change one of the 41 features of the input by one."""
    key = forger.key(LOG)
    names = f"SELECT key FROM audit.{LOG}, jsonb_each(input_snapshot -> 'features') WHERE {at(key)}"
    (name,) = forger.chance.choice(forger.connection.execute(names.encode()).fetchall())
    path = f"'{{features,{name}}}'"
    value = f"jsonb_set(input_snapshot, {path}, to_jsonb((input_snapshot #>> {path})::bigint + 1))"
    forger.run(f"UPDATE audit.{LOG} SET input_snapshot = {value} WHERE {at(key)}")
    return tampered(key)


def flip_record(forger: Forger) -> Tampered:
    """Flip one bit of the record's bytes, without its hashes."""
    key = forger.key()
    flipped = _FLIP.format("record", _some_byte(forger, key), 1 << forger.chance.randrange(8))
    forger.run(f"UPDATE audit.{key.table} SET record = {flipped} WHERE {at(key)}")
    return tampered(key)


def flip_record_and_leaf(forger: Forger) -> Tampered:
    """Flip one bit of the record's bytes, and make the leaf anew."""
    key = forger.key()
    flipped = _FLIP.format("record", _some_byte(forger, key), 1 << forger.chance.randrange(8))
    leaf = f"sha256({_PLACE} || {flipped})"
    forger.run(f"UPDATE audit.{key.table} SET record = {flipped}, leaf_hash = {leaf} WHERE {at(key)}")
    return tampered(key)


def forge_record_and_chain(forger: Forger) -> Tampered:
    """Change a record's bytes, its leaf, and the chain of every later row with its links, so that all of it agrees."""
    key = forger.key()
    flipped = _FLIP.format("record", _some_byte(forger, key), 1 << forger.chance.randrange(8))
    forger.run(f"UPDATE audit.{key.table} SET record = {flipped} WHERE {at(key)}")
    chain_anew(forger, key.partition)
    return tampered(*(other for other in forger.keys[key.partition] if other.offset >= key.offset))


# Rows that are removed, inserted and moved


def delete_row(forger: Forger) -> Tampered:
    key = forger.key()
    forger.run(f"DELETE FROM audit.{key.table} WHERE {at(key)}")
    return tampered(key)


def delete_run(forger: Forger) -> Tampered:
    """Delete two to ten consecutive rows."""
    keys = forger.keys[forger.partition()]
    begin = forger.chance.randrange(len(keys) - 1)
    gone = keys[begin : begin + forger.chance.randint(2, 10)]
    _delete(forger, gone)
    return tampered(*gone)


def delete_and_forge_chain(forger: Forger) -> Tampered:
    """Delete a row, and make the chain of all later rows as if it had never existed."""
    key = forger.key()
    forger.run(f"DELETE FROM audit.{key.table} WHERE {at(key)}")
    chain_anew(forger, key.partition)
    return tampered(*(other for other in forger.keys[key.partition] if other.offset >= key.offset))


def cut_tail(forger: Forger) -> Tampered:
    """Delete the last rows and their links, and put the position back as if they had not come yet."""
    partition = forger.partition()
    keys = forger.keys[partition]
    gone = keys[-forger.chance.randint(1, len(keys) - 1) :]
    _delete(forger, gone)
    forger.run("DELETE FROM audit.chain_link WHERE topic_partition = %s", partition)
    _link(forger, partition, len(keys) - len(gone))
    forger.run(
        "UPDATE control.consumer_position SET next_offset = %s WHERE consumer = 'audit' AND partition = %s",
        gone[0].offset, partition,
    )  # fmt: skip
    return tampered(*gone)


def delete_partition(forger: Forger) -> Tampered:
    """Delete all that there is of a partition, links and position included."""
    partition = forger.partition()
    _delete(forger, forger.keys[partition])
    forger.run("DELETE FROM audit.chain_link WHERE topic_partition = %s", partition)
    forger.run("DELETE FROM control.consumer_position WHERE consumer = 'audit' AND partition = %s", partition)
    return tampered(*forger.keys[partition])


def insert_row(forger: Forger) -> Tampered:
    """Insert a decision that was never made: a copy of another's at a free offset, with a leaf made for it."""
    key = forger.key(LOG)
    offset = _free_offset(forger, key.partition)
    _copy_row(forger, key, {"topic_offset": str(offset)})
    new = key._replace(offset=offset)
    leaf = f"sha256({_PLACE} || record)"
    forger.run(f"UPDATE audit.{LOG} SET leaf_hash = {leaf} WHERE {at(new)}")
    return tampered(new)


def append_row(forger: Forger) -> Tampered:
    """Append a decision after the last one, with chain, link and position as the service would have written them."""
    key = forger.key(LOG)
    last = forger.keys[key.partition][-1]
    new = key._replace(offset=last.offset + forger.chance.randint(1, 9))
    _copy_row(forger, key, {"topic_offset": str(new.offset)})
    chain_anew(forger, key.partition)
    return tampered(new)


def repeat_row(forger: Forger) -> Tampered:
    """Store a decision a second time, under another time."""
    key = forger.key(LOG)
    _copy_row(forger, key, {"filed_at": "filed_at + interval '1 second'"})
    return tampered(key)


def exchange_rows(forger: Forger) -> Tampered:
    """Exchange the offsets of two rows of a partition; each takes all of its content along."""
    one = forger.key(LOG)
    other = forger.chance.choice([p for p in forger.keys[one.partition] if p.table == LOG and p != one])
    far = 2**40
    for before, after in ((one.offset, far), (other.offset, one.offset), (far, other.offset)):
        forger.run(
            f"UPDATE audit.{LOG} SET topic_offset = %s WHERE topic_partition = %s AND topic_offset = %s",
            after, one.partition, before,
        )  # fmt: skip
    return tampered(one, other)


def exchange_rows_and_forge_chain(forger: Forger) -> Tampered:
    """Exchange two rows, and make every hash anew."""
    rows = exchange_rows(forger).rows
    first = min(offset for _, offset in rows)
    (partition,) = {partition for partition, _ in rows}
    chain_anew(forger, partition)
    return tampered(*(key for key in forger.keys[partition] if key.offset >= first))


def move_row(forger: Forger) -> Tampered:
    """Move a row to another partition of the topic, at an offset that is free there."""
    key = forger.key(LOG)
    there = forger.chance.choice([number for number in forger.keys if number != key.partition])
    new = RowKey(LOG, there, _free_offset(forger, there))
    forger.run(
        f"UPDATE audit.{LOG} SET topic_partition = %s, topic_offset = %s WHERE {at(key)}",
        new.partition, new.offset,
    )  # fmt: skip
    return tampered(key, new)


def move_month(forger: Forger) -> Tampered:
    """Move a row into the partition of what no month takes."""
    key = forger.key(LOG)
    forger.run(f"UPDATE audit.{LOG} SET filed_at = '1970-01-01+00' WHERE {at(key)}")
    return tampered(key)


# Links, which are not records but what the service starts from


def edit_link(forger: Forger) -> Tampered:
    partition = forger.partition()
    column, change = forger.chance.choice(
        [
            ("chain_hash", "sha256(chain_hash)"),
            ("last_offset", "last_offset + 1"),
            ("tree_size", "tree_size + 1"),
            ("recorded_at", "recorded_at + interval '1 microsecond'"),
        ]
    )
    last = "tree_size = (SELECT max(tree_size) FROM audit.chain_link WHERE topic_partition = %s)"
    forger.run(
        f"UPDATE audit.chain_link SET {column} = {change} WHERE topic_partition = %s AND {last}", partition, partition
    )
    return Tampered(frozenset(), frozenset([partition]))


def delete_links(forger: Forger) -> Tampered:
    partition = forger.partition()
    forger.run("DELETE FROM audit.chain_link WHERE topic_partition = %s", partition)
    return Tampered(frozenset(), frozenset([partition]))


TAMPERINGS: Final[tuple[Callable[[Forger], Tampered], ...]] = (
    edit_column, edit_column, edit_column, edit_snapshot, flip_record, flip_record_and_leaf, forge_record_and_chain,
    delete_row, delete_run, delete_and_forge_chain, cut_tail, delete_partition, insert_row, append_row, repeat_row,
    exchange_rows, exchange_rows_and_forge_chain, move_row, move_month, edit_link, delete_links,
)  # fmt: skip
"""All tamperings. There are many columns, so edits of them come three times as often."""


def _some_byte(forger: Forger, key: RowKey) -> int:
    query = f"SELECT length(record) FROM audit.{key.table} WHERE {at(key)}"
    found = forger.connection.execute(query.encode()).fetchone()
    assert found is not None
    return forger.chance.randrange(found[0])


def _free_offset(forger: Forger, partition: int) -> int:
    """Choose a free offset between others, where a commit marker stands, or else the one after the last."""
    taken = {key.offset for key in forger.keys[partition]}
    free = [offset for offset in range(max(taken)) if offset not in taken]
    return forger.chance.choice(free) if free else max(taken) + 1


def _delete(forger: Forger, keys: Sequence[RowKey]) -> None:
    for table in {key.table for key in keys}:
        offsets = [key.offset for key in keys if key.table == table]
        forger.run(
            f"DELETE FROM audit.{table} WHERE topic_partition = %s AND topic_offset = ANY(%s)",
            keys[0].partition, offsets,
        )  # fmt: skip


def _copy_row(forger: Forger, key: RowKey, changes: Mapping[str, str]) -> None:
    kept = [name for name in (*_CHANGES, "record", "topic_partition", "topic_offset") if name not in changes]
    columns = ", ".join([*changes, *kept])
    values = ", ".join([*changes.values(), *kept])
    forger.run(f"INSERT INTO audit.{LOG} ({columns}) SELECT {values} FROM audit.{LOG} WHERE {at(key)}")


def chain_anew(forger: Forger, partition: int) -> None:
    """Make the leaves, chain, links and position of a partition anew from its present rows."""
    rows, chain = rows_of(forger, partition), CHAIN_START
    for offset, table, at_us, record, times in rows:
        leaf = leaf_hash(partition, offset, times, record)
        chain = chain_hash(chain, entry_bytes(Entry(offset, at_us, leaf)))
        forger.run(
            f"UPDATE audit.{table} SET leaf_hash = %s, chain_hash = %s WHERE {at(RowKey(table, partition, offset))}",
            leaf, chain,
        )  # fmt: skip
    forger.run("DELETE FROM audit.chain_link WHERE topic_partition = %s", partition)
    _link(forger, partition, len(rows))


def rows_of(forger: Forger, partition: int) -> list[tuple[int, str, int, bytes, Times]]:
    """Read the offset, table, time of recording in microseconds, record and times of every row."""
    rows = []
    for table in TABLES:
        query = f"""SELECT topic_offset, (extract(epoch FROM recorded_at) * 1000000)::bigint, record,
                (extract(epoch FROM logged_at) * 1000)::bigint, (extract(epoch FROM filed_at) * 1000)::bigint
            FROM audit.{table} WHERE topic_partition = %s"""
        found = forger.connection.execute(query.encode(), [partition]).fetchall()
        rows += [(offset, table, at_us, bytes(record), Times(*times)) for offset, at_us, record, *times in found]
    return sorted(rows)


def _link(forger: Forger, partition: int, size: int) -> None:
    """Insert a link to the last row that there is."""
    every = " UNION ALL ".join(
        f"SELECT topic_offset, chain_hash, recorded_at FROM audit.{table} WHERE topic_partition = {partition}"
        for table in TABLES
    )
    forger.run(
        f"""INSERT INTO audit.chain_link SELECT {partition}, {size}, topic_offset, chain_hash, recorded_at
        FROM ({every}) AS logged ORDER BY topic_offset DESC LIMIT 1"""
    )
