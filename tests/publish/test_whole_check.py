"""A file is looked at whole before any of it is used."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from ops.stack.topics import create_topics
from pipeline.domain.payment import Transaction
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.publish.demands import OPTIONAL
from pipeline.publish.file_command import ADVANCE_EVERY as COMMAND_ADVANCES_EVERY
from pipeline.publish.file_command import publish_payments
from pipeline.publish.file_map import FIELDS
from pipeline.publish.payment_files import open_payments
from pipeline.publish.payment_source import Unreadable
from pipeline.publish.whole_check import ADVANCE_EVERY, FAULTS_MAX, check
from pipeline.terminal.failures import Failure
from tests.archive import WIRE
from tests.publish.payment_rows import csv_text, short, whole

NOW_MS = 1_800_000_000_000


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text(csv_text(rows), encoding="utf-8")
    return path


def test_a_bad_last_row_is_found_before_anything_is_published(fraud, stack, tmp_path: Path) -> None:
    path = written(tmp_path / "payments.csv", short(20_000, amount_minor="12.50"))
    create_topics(stack.bootstrap_servers, prefix="last-row.")
    answer = fraud("payments", "publish", path, bootstrap_servers=stack.bootstrap_servers, topic_prefix="last-row.")
    assert answer.code == 2
    assert "Line 20,001, column 'amount_minor'" in answer.err
    assert "Nothing was published" in answer.err
    settings = Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix="last-row.")
    with LogReader.of(settings) as log:
        assert [] == list(log.read_all(settings.topic("transactions.v1")))


def test_check_lists_the_first_hundred_faults_in_order_and_says_that_there_are_more(fraud, tmp_path: Path) -> None:
    rows = [row | {"amount_minor": "12.50"} for row in short(500)]
    answer = fraud("payments", "publish", written(tmp_path / "payments.csv", rows), "--check", "--json")
    *faults, total = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.code == 1
    assert [line + 2 for line in range(FAULTS_MAX)] == [fault["line"] for fault in faults]
    assert {"amount_minor"} == {fault["column"] for fault in faults}
    assert total["has_more"] is True


def test_check_names_every_fault_of_a_row_and_quotes_no_value(fraud, tmp_path: Path) -> None:
    path = written(tmp_path / "payments.csv", whole(2, amount="12.505x", currency="Pfund", account_id="Mira Holt"))
    answer = fraud("payments", "publish", path, "--check")
    assert answer.code == 1
    for column in ("amount", "currency", "account_id"):
        assert f"Line 3, column '{column}': " in answer.out
    for value in ("12.505x", "Pfund", "Mira"):
        assert value not in answer.out + answer.err


def test_a_sound_file_passes_its_check(fraud, tmp_path: Path) -> None:
    answer = fraud("payments", "publish", written(tmp_path / "payments.csv", whole(3)), "--check")
    assert answer.code == 0
    assert answer.out == "3 payments of payments.csv: nothing is wrong with them.\n"


def test_one_is_told_as_one(fraud, tmp_path: Path) -> None:
    """ "1 payments of …: 1 faults"."""
    answer = fraud("payments", "publish", written(tmp_path / "one.csv", whole(1)), "--check")
    assert answer.out == "1 payment of one.csv: nothing is wrong with it.\n"
    answer = fraud("payments", "publish", written(tmp_path / "wrong.csv", whole(1, amount="x")), "--check")
    assert answer.out.endswith("0 payments of wrong.csv: 1 fault.\n")


def test_what_lies_behind_the_limit_is_not_looked_at(tmp_path: Path) -> None:
    source = open_payments(written(tmp_path / "payments.csv", short(10, amount_minor="x")), with_labels=False)
    checked = check(source, NOW_MS, is_order_needed=True, limit=9)
    assert (9, []) == (checked.payments, checked.faults)
    assert check(source, NOW_MS, is_order_needed=True).faults


def test_a_file_that_changes_between_its_readings_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "payments.csv", short(10))
    source = open_payments(path, with_labels=False)
    check(source, NOW_MS, is_order_needed=True)
    os.utime(path, ns=(1, 1))
    with pytest.raises(Unreadable, match="changed while it was read"):
        list(source.read())


def test_a_change_that_sets_its_time_back_is_seen(tmp_path: Path) -> None:
    path = written(tmp_path / "payments.csv", short(10))
    source, was = open_payments(path, with_labels=False), path.stat()
    path.write_bytes(path.read_bytes().replace(b"5716", b"5717"))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    with pytest.raises(Unreadable, match="changed while it was read"):
        list(source.read())


def test_a_file_that_changes_while_its_first_payments_are_looked_at_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "payments.csv", short(ADVANCE_EVERY + 10))
    source = open_payments(path, with_labels=False)

    def change(_payments: int) -> None:
        os.utime(path, ns=(1, 1))

    with pytest.raises(Unreadable, match="changed while it was read"):
        check(source, NOW_MS, is_order_needed=True, limit=ADVANCE_EVERY, advance=change)


def test_a_file_that_changes_while_its_first_payments_are_published_is_told(stack, tmp_path: Path) -> None:
    path = written(tmp_path / "payments.csv", short(COMMAND_ADVANCES_EVERY + 10))
    create_topics(stack.bootstrap_servers, prefix="changing.")
    settings = Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix="changing.")
    source = open_payments(path, with_labels=False)

    def change(_payments: int) -> None:
        path.write_text(csv_text(short(3)), encoding="utf-8")

    with pytest.raises(Failure, match="changed while it was published"):
        publish_payments(settings, WIRE, source, limit=COMMAND_ADVANCES_EVERY, advance=change)


def test_a_limit_lets_no_broken_checksum_pass(tmp_path: Path) -> None:
    path = tmp_path / "payments.csv.gz"
    packed = gzip.compress(csv_text(short(20_000)).encode())
    path.write_bytes(packed[:-8] + bytes(byte ^ 0xFF for byte in packed[-8:-4]) + packed[-4:])
    source = open_payments(path, with_labels=False)
    with pytest.raises(Unreadable, match="no sound gzip file"):
        check(source, NOW_MS, is_order_needed=True, limit=5)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, make) -> None:
    make(tmp_path / "payments.csv")
    with pytest.raises(Unreadable, match=r"is a folder|is no regular file"):
        open_payments(tmp_path / "payments.csv", with_labels=False)


def test_every_field_of_a_payment_can_stand_in_a_file_or_be_left_out() -> None:
    needed = {name for name in Transaction._fields if name not in OPTIONAL}
    assert needed <= set(FIELDS)


@pytest.mark.parametrize("rows", [whole(9), [*short(9)]], ids=["whole", "short"])
def test_ids_that_come_twice_are_named_with_the_line_that_has_them_first(tmp_path: Path, rows) -> None:
    source = open_payments(written(tmp_path / "payments.csv", [*rows, rows[-1], rows[-1]]), with_labels=False)
    found = check(source, NOW_MS, is_order_needed=True).faults
    assert [(11, "line 10"), (12, "line 10")] == [
        (fault.line, fault.what.split(" of ")[1].split(";")[0]) for fault in found
    ]
