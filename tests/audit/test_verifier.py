"""The offline verifier: what it finds and where, what it never accuses, and that it needs nothing of the project."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given

import ops.verifier
from ops.audit_verify_command import show_report
from ops.verifier.__main__ import _tell
from ops.verifier.export import Outside, Report, Trust, verify_export
from ops.verifier.findings import Finding, Kind
from ops.verifier.freshness import Freshness, age_of
from ops.verifier.identity import EXECUTIONS, execution_id
from ops.verifier.keys import read_keys
from ops.verifier.telling import unread_text
from pipeline.audit import export_files
from pipeline.audit.chain import ENTRY_BYTES
from pipeline.audit.export_files import Logs, Published, export
from pipeline.audit.head import file_text
from pipeline.audit.leaf_files import head_paths, leaf_path, read_head
from pipeline.audit.outside_command import schemas_of
from pipeline.audit.proof_store import Unproved, place_of, proof
from pipeline.audit.witness import Statement, next_statement, seen_head, statement_line, statement_text
from pipeline.domain import identities
from pipeline.domain.anchor import Witnessed
from pipeline.domain.decision import Decision
from pipeline.domain.identities import NAMESPACE_EXECUTION
from pipeline.domain.payment import Transaction
from pipeline.io.postgres import connect
from pipeline.keys.key_files import SigningKey, create_signing_key, replace_key_set
from pipeline.keys.key_sets import KeySet, KeyUse, TrustedKey, key_set_text, with_key, with_revocation
from pipeline.terminal.output import Output
from tests.audit.continuing.outside import forge_heads, forge_leaves
from tests.audit.logs import TOPIC, WIRE, Bench, records
from tests.io.test_payment_decoder import PAYMENTS
from tests.records import NOON_MS

COUNT = 40


@pytest.fixture(autouse=True)
def _nothing_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """No service is running here that an export would have to wait for."""
    monkeypatch.setattr(export_files, "CATCH_UP_S", 0.2)


@pytest.fixture
def written(bench: Bench) -> Bench:
    """A log of two partitions with two heads each, and rows after the last."""
    every = records(COUNT)
    bench.open()
    bench.store(every[:15])
    bench.anchor()
    bench.store(every[15:30])
    bench.anchor()
    bench.store(every[30:])
    return bench


ANY_AGE = Freshness(NOON_MS + 600_000, None)


def exported(bench: Bench, name: str = "export", statements: Sequence[str] | None = None) -> Path:
    """statements: the witness's; None: one statement about what stands now."""
    out = bench.folder / name
    anchors = [file_text(read_head(path)) for p in (0, 1) for path in head_paths(bench.outside, TOPIC, p)]
    if statements is None:
        statements = [witnessed(bench)[1]] if anchors else []
    with connect(bench.owner_url, "export") as connection:
        export(
            connection,
            bench.outside,
            Logs(TOPIC, None),
            schemas_of(WIRE),
            Published(anchors, statements),
            out,
        )
    return out


def witnessed(bench: Bench, before: Statement | None = None, at_ms: int = NOON_MS) -> tuple[Statement, str]:
    """The statement about the latest heads, and as a line of the witness's file."""
    heads = [read_head(head_paths(bench.outside, TOPIC, p)[-1]).head for p in (0, 1)]
    statement = next_statement(before, map(seen_head, heads), at_ms)
    text, key = statement_text(statement), witness_key(bench)
    return statement, statement_line(Witnessed(text, key.key_id, key.sign(text.encode()), None))


def witness_key(bench: Bench) -> SigningKey:
    path = bench.folder / "witness"
    if not path.exists():
        key = create_signing_key(path, KeyUse.WITNESS, with_set=False)
        replace_key_set(bench.key_set_path, with_key(bench.keys(), KeyUse.WITNESS, key.public, 0))
    return SigningKey.from_file(path)


def verify(bench: Bench, out: Path, fresh: Freshness = ANY_AGE, *, is_all: bool = True) -> Report:
    return verify_export(
        out, Outside(out / "outside"), Trust(read_keys(bench.key_set_path), fresh), is_all=is_all, with_tables=False
    )


def verified(bench: Bench) -> Report:
    return verify(bench, exported(bench))


def places(report: Report) -> set[tuple[Kind, str, int, int | None]]:
    return {finding[:4] for finding in report.findings}


def test_untouched_log_is_never_accused(written: Bench) -> None:
    report = verified(written)
    assert [] == report.findings
    assert (len(records(COUNT)), 2, 0) == (report.rows, report.partitions, report.younger)
    assert 0 < report.signed < report.rows


def test_empty_log_is_never_accused(bench: Bench) -> None:
    bench.open()
    assert Report(0, 2, 0, 0, 0, 0, None, None, None, [], []) == verified(bench)


COLUMNS = (
    "decision_id", "transaction_id", "account_id", "agent_id", "model_version", "model_hash", "policy_version",
    "policy_hash", "input_hash", "input_snapshot", "decision", "confidence", "reasoning", "reasons", "rules_triggered",
    "route", "breaker_state", "breaker_scope", "execution_id", "created_at", "source_partition", "source_offset",
    "leaf_hash", "chain_hash", "recorded_at", "logged_at", "filed_at",
)  # fmt: skip
BOUND = {"logged_at", "filed_at"}
"""Columns that the leaf binds, as it does the record."""
TIMES = (
    "int8send((extract(epoch FROM logged_at) * 1000)::bigint) || "
    "int8send((extract(epoch FROM filed_at) * 1000)::bigint)"
)
CHANGED = {
    "uuid": "gen_random_uuid()",
    "text": "{} || 'x'",
    "bytea": "sha256({})",
    "character": "encode(sha256({}::bytea), 'hex')",
    "jsonb": "jsonb_build_array({})",
    "numeric": "1 - {} + 0.0001",
    "timestamp with time zone": "{} + interval '1 microsecond'",
    "integer": "{} + 1",
    "bigint": "{} + 1",
}
SPECIAL = {
    "decision": "CASE decision WHEN 'ALLOW' THEN 'BLOCK' ELSE 'ALLOW' END",
    "route": "CASE route WHEN 'MODEL' THEN 'FALLBACK' ELSE 'MODEL' END",
    "breaker_state": "CASE breaker_state WHEN 'OPEN' THEN 'CLOSED' ELSE 'OPEN' END",
    "confidence": "CASE WHEN confidence > 0.5 THEN confidence - 0.0001 ELSE confidence + 0.0001 END",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_edit_of_any_column_is_found_at_its_row(written: Bench, column: str) -> None:
    kind = written.rows(
        f"SELECT data_type FROM information_schema.columns WHERE table_schema = 'audit' "
        f"AND table_name = 'ai_decision_log' AND column_name = '{column}'"
    )[0][0]
    value = SPECIAL.get(column) or CHANGED[str(kind)].format(column)
    where = "topic_partition = 1 AND topic_offset = 12"
    assert 1 == written.as_superuser(f"UPDATE audit.ai_decision_log SET {column} = {value} WHERE {where}")
    report = verified(written)
    if column in BOUND:
        assert [(Kind.RECORD_CHANGED, "ai_decision_log", 1, 12)] == [tuple(found)[:4] for found in report.findings]
    else:
        assert [(Kind.COLUMN_CHANGED, "ai_decision_log", 1, 12, column)] == [tuple(found) for found in report.findings]


@pytest.mark.parametrize(
    "path", ["{transaction,amount_minor}", "{features,is_weekend}", "{transaction,segments,age_band}"]
)
def test_edit_inside_the_snapshot_is_found(written: Bench, path: str) -> None:
    value = f"jsonb_set(input_snapshot, '{path}', 'true')"
    written.as_superuser(f"UPDATE audit.ai_decision_log SET input_snapshot = {value} WHERE topic_offset = 8")
    assert {(Kind.COLUMN_CHANGED, "ai_decision_log", p, 8) for p in (0, 1)} == places(verified(written))


def test_true_in_place_of_one_is_found(written: Bench) -> None:
    one = "input_snapshot #> '{features,account_count_1h}' = '1'"
    changed = written.as_superuser(
        f"UPDATE audit.ai_decision_log SET input_snapshot = "
        f"jsonb_set(input_snapshot, '{{features,account_count_1h}}', 'true') WHERE {one} AND topic_offset = 8"
    )
    assert changed == len(verified(written).findings) > 0


@pytest.mark.parametrize("table", ["ai_decision_log", "reversal_log", "review_log"])
def test_edit_of_the_record_is_found_even_with_its_hashes_made_again(written: Bench, table: str) -> None:
    [(partition, offset)] = written.rows(
        f"SELECT topic_partition, topic_offset FROM audit.{table} ORDER BY 1, 2 OFFSET 1 LIMIT 1"
    )
    altered = "set_byte(record, length(record) - 1, get_byte(record, length(record) - 1) # 1)"
    leaf = f"sha256('\\x00'::bytea || int4send(topic_partition) || int8send(topic_offset) || {TIMES} || {altered})"
    statement = f"UPDATE audit.{table} SET record = {altered}, leaf_hash = {leaf}"
    written.as_superuser(f"{statement} WHERE topic_partition = {partition} AND topic_offset = {offset}")
    assert {(Kind.RECORD_CHANGED, table, partition, offset)} == places(verified(written))


def test_deleted_row_is_found(written: Bench) -> None:
    written.as_superuser("DELETE FROM audit.ai_decision_log WHERE topic_partition = 0 AND topic_offset = 16")
    found = places(verified(written))
    assert (Kind.ROW_MISSING, "any", 0, 16) in found
    assert {Kind.ROW_MISSING, Kind.LINK_CHANGED} == {place[0] for place in found}


def test_truncated_tail_is_found_with_links_and_position_put_back(written: Bench) -> None:
    last = written.rows("SELECT topic_offset FROM audit.ai_decision_log WHERE topic_partition = 1 ORDER BY 1")[-3:]
    first = last[0][0]
    for table in ("ai_decision_log", "reversal_log", "review_log"):
        written.as_superuser(f"DELETE FROM audit.{table} WHERE topic_partition = 1 AND topic_offset >= {first}")
    written.as_superuser(f"DELETE FROM audit.chain_link WHERE topic_partition = 1 AND last_offset >= {first}")
    written.as_superuser(
        f"UPDATE control.consumer_position SET next_offset = {first} WHERE partition = 1 AND consumer = 'audit'"
    )
    missing = {place[3] for place in places(verified(written)) if place[0] is Kind.ROW_MISSING}
    assert {offset for (offset,) in last} <= missing


def test_emptied_tables_are_found(written: Bench) -> None:
    for table in ("ai_decision_log", "reversal_log", "review_log", "chain_link"):
        written.as_superuser(f"DELETE FROM audit.{table}")
    missing = [found for found in verified(written).findings if found.kind is Kind.ROW_MISSING]
    assert len(records(COUNT)) == len(missing)


def test_inserted_row_is_found_between_others_and_at_the_end(written: Bench) -> None:
    columns = ", ".join(c for c in (*COLUMNS, "record") if c != "leaf_hash")
    for offset in (17, 99):
        written.as_superuser(
            f"INSERT INTO audit.ai_decision_log ({columns}, topic_partition, topic_offset, leaf_hash) "
            f"SELECT {columns}, 0, {offset}, "
            f"sha256('\\x00'::bytea || int4send(0) || int8send({offset}) || {TIMES} || record) "
            f"FROM audit.ai_decision_log WHERE topic_partition = 0 AND topic_offset = 16"
        )
    found = places(verified(written))
    assert {(Kind.ROW_INSERTED, "ai_decision_log", 0, 17), (Kind.ROW_INSERTED, "ai_decision_log", 0, 99)} <= found
    assert {Kind.ROW_INSERTED, Kind.LINK_CHANGED} == {place[0] for place in found}


def test_row_copied_under_another_time_is_found(written: Bench) -> None:
    columns = ", ".join(c for c in (*COLUMNS, "record", "topic_partition", "topic_offset") if c != "filed_at")
    written.as_superuser(
        f"INSERT INTO audit.ai_decision_log (filed_at, {columns}) SELECT filed_at + interval '1 second', {columns} "
        f"FROM audit.ai_decision_log WHERE topic_partition = 0 AND topic_offset = 16"
    )
    assert (Kind.ROW_TWICE, "ai_decision_log", 0, 16) in places(verified(written))


def test_swapped_rows_are_found_both(written: Bench) -> None:
    where = "topic_partition = 0 AND topic_offset"
    for before, after in ((16, 1016), (20, 16), (1016, 20)):
        written.as_superuser(f"UPDATE audit.ai_decision_log SET topic_offset = {after} WHERE {where} = {before}")
    assert {(Kind.RECORD_CHANGED, "ai_decision_log", 0, offset) for offset in (16, 20)} == places(verified(written))


def test_row_moved_to_another_partition_is_missed_here_and_found_there(written: Bench) -> None:
    written.as_superuser(
        "UPDATE audit.ai_decision_log SET topic_partition = 1, topic_offset = 17 "
        "WHERE topic_partition = 0 AND topic_offset = 16"
    )
    found = places(verified(written))
    assert {(Kind.ROW_MISSING, "any", 0, 16), (Kind.ROW_INSERTED, "ai_decision_log", 1, 17)} <= found


def test_chain_computed_anew_by_a_superuser_is_found_at_every_row_that_it_wrote(written: Bench) -> None:
    written.as_superuser("UPDATE audit.ai_decision_log SET chain_hash = sha256(chain_hash) WHERE topic_offset >= 40")
    changed = {
        (Kind.COLUMN_CHANGED, "ai_decision_log", partition, offset)
        for partition, offset in written.rows(
            "SELECT topic_partition, topic_offset FROM audit.ai_decision_log WHERE topic_offset >= 40"
        )
    }
    assert changed == places(verified(written))


@pytest.mark.parametrize(
    "act",
    [
        "DELETE FROM audit.chain_link WHERE last_offset > 40",
        "UPDATE audit.chain_link SET last_offset = last_offset + 1 WHERE tree_size > 9",
    ],
)
def test_tampered_links_are_found(written: Bench, act: str) -> None:
    assert written.as_superuser(act) > 0
    assert {Kind.LINK_CHANGED} == {found.kind for found in verified(written).findings}


def test_changed_leaf_file_is_told_from_a_changed_table(written: Bench) -> None:
    path = leaf_path(written.outside, TOPIC, 0)
    content = bytearray(path.read_bytes())
    content[4 * ENTRY_BYTES + 15] ^= 1  # of a time of recording
    path.write_bytes(content)
    kinds = {found.kind for found in verified(written).findings}
    assert Kind.LEAF_FILE_CHANGED in kinds


def test_leaf_file_cut_below_a_signed_head_is_found(written: Bench) -> None:
    path = leaf_path(written.outside, TOPIC, 0)
    path.write_bytes(path.read_bytes()[: 3 * ENTRY_BYTES])
    assert Kind.LEAF_FILE_CHANGED in {found.kind for found in verified(written).findings}


def test_head_signed_with_another_key_is_refused(bench: Bench) -> None:
    bench.open()
    bench.store(records(COUNT))
    other = create_signing_key(bench.folder / "other", valid_from_ms=0)
    shutil.copy(bench.key_set_path, bench.folder / "mine")
    replace_key_set(bench.key_set_path, with_key(bench.keys(), KeyUse.AUDIT, other.public, 0))
    bench.anchors(other).anchor(bench.log.trees, NOON_MS)
    shutil.copy(bench.folder / "mine", bench.key_set_path)
    assert {Kind.KEY_UNKNOWN} == {found.kind for found in verified(bench).findings}


def test_head_that_nobody_of_ours_signed_makes_no_export_look_changed(written: Bench) -> None:
    """Whoever has the audit service's credential on the broker, and not its key, can write to anchors.v1."""
    out, thief = exported(written), create_signing_key(written.folder / "thief", with_set=False)
    lines = (out / "anchors.jsonl").read_text().splitlines(keepends=True)
    for key_id in (thief.key_id, written.key.key_id):
        head = {**json.loads(lines[0])["head"], "tree_size": 2**40, "anchored_at_ms": 2**60}
        text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
        forged = {"head": head, "frontier": [], "key_id": key_id, "signature": thief.sign(text).hex()}
        (out / "anchors.jsonl").write_text("".join([*lines, json.dumps(forged) + "\n"]))
        assert [] == verify(written, out).findings


def test_head_left_out_of_the_files_is_missed_by_the_next_the_topic_and_the_witness(written: Bench) -> None:
    out = exported(written)
    first, second = sorted((out / "outside/heads" / f"{TOPIC}-0000").iterdir())
    first.unlink()
    assert [Kind.HEAD_MISSING] == [found.kind for found in verify(written, out).findings]
    second.unlink()
    assert [Kind.HEAD_MISSING] * 2 == [found.kind for found in verify(written, out).findings]
    (out / "anchors.jsonl").unlink()
    kinds = [found.kind for found in verify(written, out).findings]
    assert [Kind.WITNESS_CONTRADICTED, Kind.ANCHOR_MISSING] == kinds
    (out / "witness.jsonl").unlink()
    kinds = [found.kind for found in verify(written, out).findings]
    assert [Kind.ANCHOR_MISSING, Kind.WITNESS_MISSING] == kinds


def test_anchors_of_an_earlier_day_are_missed(written: Bench) -> None:
    out = exported(written)
    lines = (out / "anchors.jsonl").read_text().splitlines(keepends=True)
    (out / "anchors.jsonl").write_text("".join(lines[::2]))
    report = verify(written, out)
    assert [Kind.ANCHOR_MISSING] * 2 == [found.kind for found in report.findings]


@pytest.mark.parametrize(
    ("age", "kinds"),
    [("10m", []), ("5m", [Kind.STALE]), ("any", [])],
)
def test_an_old_export_is_stale_unless_its_age_is_accepted(written: Bench, age: str, kinds: list[Kind]) -> None:
    fresh = Freshness(NOON_MS + 600_000, age_of(age))
    report = verify(written, exported(written), fresh)
    about_export = [found.kind for found in report.findings if found.partition is None]
    assert kinds == about_export
    assert (NOON_MS, NOON_MS) == (report.newest_head_ms, report.newest_witness_ms)
    unsigned = [found for found in report.findings if found.partition is not None]
    assert (2 if age == "5m" else 0) == len(unsigned)  # those after the last head wait since two minutes past noon


def test_a_statement_from_the_future_is_found(written: Bench) -> None:
    out = exported(written, statements=[witnessed(written, at_ms=NOON_MS + 700_000)[1]])
    assert ["which is yet to come" in found.detail for found in verify(written, out).findings] == [True]


def test_a_log_that_nobody_witnesses_is_a_finding_unless_that_is_accepted(written: Bench) -> None:
    witness_key(written)
    out = exported(written, statements=[])
    assert [Kind.WITNESS_MISSING] == [found.kind for found in verify(written, out).findings]
    alone = Freshness(NOON_MS + 600_000, None, is_witnessed=False)
    assert [] == verify(written, out, alone).findings
    stale = Freshness(NOON_MS + 600_000, 60_000, is_witnessed=False)
    assert Kind.STALE in {found.kind for found in verify(written, out, stale).findings if found.partition is None}


def test_statements_are_held_to_their_chain_key_and_heads(written: Bench) -> None:
    first, first_line = witnessed(written)
    second, second_line = witnessed(written, first, NOON_MS + 60_000)
    lines = [first_line, second_line, witnessed(written, second, NOON_MS + 120_000)[1]]
    assert [] == verify(written, exported(written, "whole", lines)).findings
    assert [] == verify(written, exported(written, "twice", [lines[0], *lines])).findings
    left_out = verify(written, exported(written, "left out", [lines[0], lines[2]])).findings
    assert [Kind.WITNESS_MISSING] == [found.kind for found in left_out]
    late = verify(written, exported(written, "late", lines[1:])).findings
    assert [Kind.WITNESS_MISSING] == [found.kind for found in late]
    text = statement_text(first)
    forged = statement_line(Witnessed(text, written.key.key_id, written.key.sign(text.encode()), None))
    found = verify(written, exported(written, "forged", [forged])).findings
    assert [Kind.WITNESS_MISSING] == [each.kind for each in found]  # the audit key is no witness's
    assert [] == verify(written, exported(written, "slipped in", [lines[0], forged, *lines[1:]])).findings
    bent = lines[0].replace(f'\\"witnessed_at_ms\\":{NOON_MS}', f'\\"witnessed_at_ms\\":{NOON_MS + 1}')
    assert bent != lines[0]
    found = verify(written, exported(written, "bent", [bent])).findings
    assert [Kind.WITNESS_MISSING] == [each.kind for each in found]
    found = verify(written, exported(written, "bent before others", [bent, *lines[1:]])).findings
    assert [Kind.WITNESS_MISSING] == [each.kind for each in found]


def test_the_holder_of_the_signing_key_can_t_rewrite_what_the_witness_saw(written: Bench) -> None:
    """Rows, leaves, heads and anchors are all made anew, and every signature holds."""
    line = witnessed(written)[1]
    where = "topic_partition = 1 AND topic_offset = 12"
    altered = "set_byte(record, length(record) - 1, get_byte(record, length(record) - 1) # 1)"
    written.as_superuser(f"UPDATE audit.ai_decision_log SET record = {altered} WHERE {where}")
    forge_leaves(written, 1)
    forge_heads(written, 1, written.key)
    findings = verify(written, exported(written, statements=[line])).findings
    assert {(Kind.WITNESS_CONTRADICTED, 1)} == {found[:3:2] for found in findings if found.table == "head"}


@pytest.mark.parametrize(
    ("since_ms", "at_ms", "kinds"),
    [
        (NOON_MS + 1, NOON_MS, set()),  # the witness saw its heads before
        (NOON_MS + 1, NOON_MS + 2, {Kind.KEY_REVOKED}),  # and here after
        (NOON_MS, NOON_MS - 1, {Kind.KEY_REVOKED}),  # they say themselves that they are later
    ],
)
def test_heads_of_a_revoked_key_count_only_where_the_witness_saw_them_before(
    written: Bench, since_ms: int, at_ms: int, kinds: set[Kind]
) -> None:
    line = witnessed(written, at_ms=at_ms)[1]
    revoked = with_revocation(written.keys(), written.key.key_id, since_ms, "The host was entered.")
    replace_key_set(written.key_set_path, revoked)
    assert kinds == {found.kind for found in verify(written, exported(written, statements=[line])).findings}


def test_a_history_of_two_keys_holds_and_each_key_only_in_its_time(bench: Bench) -> None:
    every = records(COUNT)
    bench.open()
    bench.store(every[:20])
    bench.anchor()
    second = create_signing_key(bench.folder / "second", with_set=False)
    keys = with_key(bench.keys(), KeyUse.AUDIT, second.public, NOON_MS + 1, NOON_MS + 1)
    replace_key_set(bench.key_set_path, keys)
    bench.store(every[20:])
    bench.anchors(second).anchor(bench.log.trees, NOON_MS + 2)
    assert [] == verified(bench).findings
    first_only = {bench.key.key_id: keys.keys[bench.key.key_id]}
    bench.key_set_path.write_text(key_set_text(KeySet(first_only | with_witness(bench))))
    kinds = {found.kind for found in verify(bench, bench.folder / "export").findings}
    assert kinds == {Kind.KEY_UNKNOWN}
    early = keys.keys[second.key_id]._replace(valid_from_ms=NOON_MS + 3)
    late = keys.keys[bench.key.key_id]._replace(valid_until_ms=NOON_MS - 1)
    for bent in (early, late):
        bench.key_set_path.write_text(key_set_text(KeySet(dict(keys.keys) | with_witness(bench) | {bent.key_id: bent})))
        assert Kind.KEY_EXPIRED in {found.kind for found in verify(bench, bench.folder / "export").findings}


def with_witness(bench: Bench) -> dict[str, TrustedKey]:
    public = SigningKey.from_file(bench.folder / "witness").public
    return dict(with_key(KeySet({}), KeyUse.WITNESS, public, 0).keys)


def test_proof_of_a_decision_holds_and_of_any_other_record_does_not(written: Bench, tmp_path: Path) -> None:
    decision = records(COUNT)[3].content.decision_id
    with connect(written.owner_url, "prove") as connection:
        proved = proof(written.outside, TOPIC, place_of(connection, decision))
    assert 0 == run_alone(written, tmp_path, "proof", proved)
    for name, value in (("record", proved["record"][:-2] + "00"), ("index", proved["index"] + 1), ("offset", 1)):
        assert 1 == run_alone(written, tmp_path, "proof", {**proved, name: value}), name
    forged = {**proved, "head": {**proved["head"], "head": {**proved["head"]["head"], "tree_size": 9}}}
    assert 1 == run_alone(written, tmp_path, "proof", forged)


def test_record_after_the_last_head_has_no_proof_yet(written: Bench) -> None:
    last = [each for each in records(COUNT) if isinstance(each.content, Decision)][-1]
    with connect(written.owner_url, "prove") as connection:
        place = place_of(connection, last.content.decision_id)
        with pytest.raises(Unproved, match="younger than the last signed head"):
            proof(written.outside, TOPIC, place)
        with pytest.raises(Unproved, match="has no decision"):
            place_of(connection, "00000000-0000-0000-0000-000000000000")


def run_alone(bench: Bench, folder: Path, task: str, what: object, *arguments: str) -> int:
    """The verifier's folder copied to where nothing else of the project is, in a process that can't import it."""
    alone = folder / "alone"
    if not alone.exists():
        shutil.copytree(Path(ops.verifier.__file__).parent, alone / "verifier")
    path = folder / "input"
    if not isinstance(what, Path):
        path.write_text(json.dumps(what))
    code = (
        "import runpy, sys; sys.modules.update(dict.fromkeys(('ops', 'pipeline', 'models', 'schemas')));"
        "sys.argv[0] = 'verifier'; runpy.run_module('verifier', run_name='__main__')"
    )
    only = ["--decisions-only"] if task == "log" else []
    given = [task, str(what if isinstance(what, Path) else path), "--keys", str(bench.key_set_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *given, *only, *arguments], cwd=alone, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode


def test_verifier_runs_alone(written: Bench, tmp_path: Path) -> None:
    assert 0 == run_alone(written, tmp_path, "log", exported(written, "sound"), "--all", "--max-age", "any")
    assert 1 == run_alone(written, tmp_path, "log", exported(written, "old"), "--all")
    written.as_superuser("DELETE FROM audit.ai_decision_log WHERE topic_offset = 16")
    assert 1 == run_alone(written, tmp_path, "log", exported(written, "cut"), "--json", "--max-age", "any")


EMPTY = Report(0, 0, 0, 0, 0, 0, None, None, None, [], [])
EVERYTHING_HIDDEN = "\x1b[8m\x1b[2J\x1b[Hno findings\x07\u202e"


@pytest.mark.parametrize("is_json", [False, True])
def test_what_a_forger_wrote_reaches_no_terminal(capsys: pytest.CaptureFixture[str], is_json: bool) -> None:
    report = EMPTY._replace(quarantined=[EVERYTHING_HIDDEN])
    assert 0 == _tell(report, Freshness(0, None, is_witnessed=False), 0, as_json=is_json)
    printed = capsys.readouterr().out.replace("\n", "")
    assert printed.isprintable()
    assert "[8m" in printed


def test_the_command_tells_all_that_the_verifier_tells(capsys: pytest.CaptureFixture[str]) -> None:
    tables = EMPTY.tables._replace(restored=["partition 0 began anew"])
    of_the_export = Finding(Kind.STALE, "the export", None, None, "it is 3 days old")
    report = EMPTY._replace(findings=[of_the_export], quarantined=["a statement"], tables=tables, younger=7)
    fresh = Freshness(0, None, is_witnessed=False)
    assert 1 == _tell(report, fresh, 0, as_json=False)
    alone = capsys.readouterr().out
    assert not show_report(Output(as_json=False), report, fresh, 0)
    assert alone == capsys.readouterr().out


@pytest.mark.parametrize(("known", "code"), [(0, 1), (1, 0), (2, 0)])
def test_a_restore_that_nobody_said_they_know_of_is_no_clean_log(known: int, code: int) -> None:
    report = EMPTY._replace(tables=EMPTY.tables._replace(restored=["partition 0 began anew"]))
    fresh = Freshness(0, None, is_witnessed=False)
    assert code == _tell(report, fresh, known, as_json=False)
    assert (code == 0) == show_report(Output(as_json=False), report, fresh, known)


def test_verifier_imports_nothing_of_the_project() -> None:
    for path in Path(ops.verifier.__file__).parent.glob("*.py"):
        for line in path.read_text().splitlines():
            assert not line.startswith(("import ops", "import pipeline", "from ops", "from pipeline", "from models"))


def test_execution_ids_are_of_the_same_namespace() -> None:
    assert NAMESPACE_EXECUTION == EXECUTIONS


@given(PAYMENTS)
def test_execution_id_is_the_one_that_the_executor_uses(payment: Transaction) -> None:
    assert execution_id(payment._asdict()) == identities.execution_id(payment)


def test_finding_says_where() -> None:
    assert ("kind", "table", "partition", "offset", "detail") == Finding._fields


def test_a_file_that_is_not_there_is_named_without_the_systems_number(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as missing:
        read_keys(tmp_path / "keys")
    assert unread_text(missing.value) == f"{tmp_path / 'keys'} can't be read (No such file or directory)"
    assert unread_text(ValueError("it holds a key twice")) == "it holds a key twice"
