"""A file that is cut off between two lines is known by what its sender says that it comes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.train.history import HistoryRefused, labelled_payments
from ops.stack.topics import create_topics
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.publish.payment_files import open_payments, read_map
from pipeline.publish.payment_source import Unreadable
from pipeline.publish.whole_check import check
from tests.publish.iso20022.given import PAYER, pain
from tests.publish.payment_rows import csv_text, whole

NOW_MS = 1_800_000_000_000
ROWS = [row | {"currency": "JPY", "amount": "1200"} if number == 1 else row for number, row in enumerate(whole(4))]
"""GBP 12.50 three times, the last of them a payment of its own currency's decimals, and JPY 1,200."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "payments.csv").write_text(csv_text(ROWS), encoding="utf-8")
    return tmp_path / "payments.csv"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--payments", "4"], None),
        (["--payments", "5"], "It has 4 payments where 5 are declared: it may be cut off, or be another file."),
        (["--payments", "0"], "It has 4 payments where 0 are declared"),
        (["--sum", "GBP=37.50", "--sum", "JPY=1200"], None),
        (["--sum", "GBP=37.5", "--sum", "JPY=1200", "--sum", "EUR=0"], None),
        (["--sum", "GBP=37.51", "--sum", "JPY=1200"], "Its payments in GBP come to another sum than is declared"),
        (["--sum", "GBP=37.50"], "It has payments in JPY, for which no sum is declared"),
        (
            ["--sum", "GBP=37.50", "--sum", "JPY=1200", "--sum", "EUR=0.01"],
            "Its payments in EUR come to another sum than is declared",
        ),
    ],
)
def test_a_file_that_comes_to_something_else_is_a_fault(
    fraud, path: Path, options: list[str], said: str | None
) -> None:
    answer = fraud("payments", "publish", path, "--check", *options)
    assert (0 if said is None else 1) == answer.code, answer
    if said is not None:
        assert said in answer.out
        assert "37.50" not in answer.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sum", "GBP"], "A --sum is no currency with an amount"),
        (["--sum", "gbp=1"], "A --sum is no currency with an amount"),
        (["--sum", "GBP=1,250.00"], "The sum in GBP that is declared is no number by the map's signs"),
        (["--sum", "GBP=1e3"], "The sum in GBP that is declared is a number in scientific notation"),
        (["--sum", "GBP=12.505"], "has more decimals than the 2 of its currency"),
        (["--sum", "GBP=-1"], "The sum in GBP that is declared is below zero"),
        (["--sum", "GBP=-0"], "The sum in GBP that is declared is minus zero"),
        (["--sum", "XAU=1"], "no number of decimals in ISO 4217"),
        (["--sum", "GBP=1", "--sum", "GBP=1"], "Two sums in GBP are declared"),
    ],
)
def test_a_sum_that_is_none_is_refused_in_words(fraud, path: Path, options: list[str], said: str) -> None:
    answer = fraud("payments", "publish", path, "--check", *options)
    assert answer.code == 2
    assert said in answer.err


def test_a_file_cut_between_two_lines_is_not_published_in_part(fraud, stack, path: Path) -> None:
    """With a limit the whole file is looked at, too."""
    path.write_text(csv_text(ROWS[:-1]), encoding="utf-8")
    create_topics(stack.bootstrap_servers, prefix="totals.")
    environment = {"bootstrap_servers": stack.bootstrap_servers, "topic_prefix": "totals."}
    for limit in ([], ["--limit", "2"]):
        answer = fraud("payments", "publish", path, "--payments", "4", *limit, **environment)
        assert answer.code == 2
        assert "It has 3 payments where 4 are declared" in answer.err
        assert "Nothing was published" in answer.err
    settings = Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix="totals.")
    with LogReader.of(settings) as log:
        assert [] == list(log.read_all(settings.topic("transactions.v1")))
    assert fraud("payments", "publish", path, "--payments", "3", "--limit", "2", **environment).code == 0


def test_the_map_says_totals_too_and_training_heeds_them(path: Path, tmp_path: Path) -> None:
    told = tmp_path / "map.toml"
    told.write_text('[file]\npayments = 4\nsums = { GBP = "37.50", JPY = 1200 }\n', encoding="utf-8")
    assert 4 == len(list(labelled_payments(path, read_map(told))))
    path.write_text(csv_text(ROWS[:-1]), encoding="utf-8")
    with pytest.raises(HistoryRefused, match="It has 3 payments where 4 are declared"):
        list(labelled_payments(path, read_map(told)))


@pytest.mark.parametrize("text", ["payments = -1", "payments = 4.0", "sums = { GBP = 37.5 }", "sums = { gbp = 1 }"])
def test_a_map_with_totals_that_are_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "map.toml").write_text(f"[file]\n{text}\n", encoding="utf-8")
    with pytest.raises(Unreadable, match=r"map\.toml: file"):
        read_map(tmp_path / "map.toml")


def test_what_both_say_is_refused_though_it_be_the_same(fraud, path: Path, tmp_path: Path) -> None:
    told = tmp_path / "map.toml"
    told.write_text("[file]\npayments = 4\n", encoding="utf-8")
    given = "payments", "publish", path, "--check", "--map", told
    answer = fraud(*given, "--payments", "4")
    assert answer.code == 2
    assert "Both --payments and the map's file.payments say it" in answer.err
    assert fraud(*given, "--sum", "GBP=37.50", "--sum", "JPY=1200").code == 0


def test_no_total_is_told_beside_another_fault(path: Path) -> None:
    """A payment that can't be read is in no sum, so that the sum would only say it again."""
    path.write_text(csv_text([*ROWS[:-1], ROWS[-1] | {"amount": "12.5x"}]), encoding="utf-8")
    source = open_payments(path, with_labels=False, payments=5, sums=["GBP=37.50", "JPY=1200"])
    assert ["amount"] == [fault.column for fault in check(source, NOW_MS, is_order_needed=True).faults]


def test_totals_are_for_messages_too(fraud, tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_text(pain(), encoding="utf-8")
    (tmp_path / "a.csv").write_text(
        f"account_id,account_opened,account_time_zone\n{PAYER},2015-01-01,Europe/London\n", encoding="utf-8"
    )
    given = "payments", "publish", tmp_path / "m.xml", "--check", "--accounts", tmp_path / "a.csv"
    assert fraud(*given, "--payments", "2", "--sum", "EUR=201.03").code == 0
    assert fraud(*given, "--payments", "3").code == 1
    (tmp_path / "map.toml").write_text("[file]\npayments = 3\n", encoding="utf-8")
    answer = fraud(*given, "--map", tmp_path / "map.toml")
    assert "It has 2 payments where 3 are declared" in answer.out
