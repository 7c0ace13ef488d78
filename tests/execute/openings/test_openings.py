"""`fraud ledger open`, `import` and `fund`: a reference stands for one thing, a file is opened whole or not at all."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from ops.bench.rig.waiting import wait_until
from ops.cli import run
from pipeline.execute.ledger_admin_store import _open_part, append_fundings, append_openings
from pipeline.execute.references import Funding, LedgerConflict, Opening, canonical_reference
from pipeline.io.postgres import connect
from tests.records import NOON_MS
from tests.servers import url_as

HEADER = "account_id,currency,overdraft_limit_minor,opening_balance_minor\n"
WAIT_MAX_S = 120


@pytest.fixture
def fraud(database_url, monkeypatch, capsys, tmp_path):
    """Runs a command as the treasurer: its exit code, and what it printed on stdout and on stderr."""
    monkeypatch.setenv("FRAUD_DATABASE_URL", url_as(database_url, "fraud_treasurer"))
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


@pytest.fixture
def treasurer(database_url):
    with closing(connect(url_as(database_url, "fraud_treasurer"), "test")) as connection:
        yield connection


def rows(connection) -> dict[tuple[str, str], tuple[int, int]]:
    """The overdraft and the balance of each account that is open."""
    found = connection.execute(
        "SELECT account_id, currency, overdraft_limit_minor, (SELECT coalesce(sum(amount_minor), 0) FROM ledger.funding"
        " WHERE funding.account_id = account.account_id AND funding.currency = account.currency) FROM ledger.account"
    ).fetchall()
    return {(account_id, currency): (limit, int(funded)) for account_id, currency, limit, funded in found}


@pytest.fixture
def opened(treasurer):
    append_openings(
        treasurer,
        [Opening("ann", "GBP", 0, 500), Opening("bob", "GBP", 0, 0), Opening("ann", "EUR", 10, 0)],
        NOON_MS,
    )


# References


def test_a_reference_is_posted_once_and_says_so(fraud, opened, treasurer):
    first = fraud("ledger", "fund", "ann", "GBP", "250", "--reference", "salary 1")
    assert first == (0, "Posted £2.50 to ann under the reference 'salary 1'.\n", "")
    code, out, _ = fraud("ledger", "fund", "ann", "GBP", "250", "--reference", "salary 1")
    assert code == 0
    assert out.startswith("Nothing was done: £2.50 to ann was posted at 20")
    assert out.endswith("under the reference 'salary 1'.\n")
    assert rows(treasurer)["ann", "GBP"] == (0, 750)


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        (("bob", "GBP", "250"), "£2.50 to bob"),
        (("ann", "EUR", "250"), "EUR 2.50 to ann"),
        (("ann", "GBP", "251"), "£2.51 to ann"),
    ],
)
def test_a_reference_that_stands_for_something_else_is_refused_with_both_named(asked, other, fraud, opened, treasurer):
    fraud("ledger", "fund", "ann", "GBP", "250", "--reference", "salary 1")
    before = rows(treasurer)
    code, out, err = fraud("ledger", "fund", *asked, "--reference", "salary 1")
    assert (code, out) == (1, "")
    assert f"stands for £2.50 to ann, and can't stand for {other} as well" in err
    assert rows(treasurer) == before


ALIKE = ("Salary 1", "salary  1", " salary 1 ", "salary\u00a01", "salary\t1", "ｓａｌａｒｙ １", "SALARY 1")


@pytest.mark.parametrize("alike", ALIKE)
def test_references_that_read_alike_are_one(alike, fraud, opened, treasurer):
    fraud("ledger", "fund", "ann", "GBP", "250", "--reference", "salary 1")
    assert fraud("ledger", "fund", "ann", "GBP", "250", "--reference", alike)[0] == 0
    assert fraud("ledger", "fund", "bob", "GBP", "250", "--reference", alike)[0] == 1
    assert rows(treasurer)["ann", "GBP"] == (0, 750)
    assert rows(treasurer)["bob", "GBP"] == (0, 0)


@pytest.mark.parametrize(
    "unseen",
    [
        "sal\u200bary",
        "salary\u200d",
        "\ufeffsalary",
        "sal\u00adary",
        "sal\u034fary",
        "salary\ufe0f",
        "\u202eyralas",
        "sal\u3164ary",
        "sal\x00ary",
        "",
        "   ",
        "...",
        "x" * 141,
    ],
)
def test_a_reference_with_what_nobody_sees_is_none(unseen):
    assert canonical_reference(unseen) is None


DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d\u2e3a\u2043"


@pytest.mark.parametrize("dash", DASHES, ids=ascii)
def test_references_with_another_dash_are_one(dash):
    assert canonical_reference(f"INV{dash}1") == canonical_reference("inv-1") == "inv-1"


@pytest.mark.parametrize("quote", "\u2018\u2019\u02bc\u2032\u00b4`\uff07", ids=ascii)
def test_references_with_another_quote_are_one(quote):
    assert canonical_reference(f"O{quote}Brien 1") == "o'brien 1"


MIXED = {
    "a Cyrillic letter": "s\u0430lary 1",
    "a Greek capital": "\u0399NV-1",
    "a Cherokee letter": "\u13aa\u13d9\u13a0 1",
    "Cyrillic letters that all read as Latin ones": "\u0421\u0410\u0412-1",
    "Greek letters that all read as Latin ones": "\u03a4\u0391\u03a7 1",
    "a letter of phonetics": "s\u0251lary 1",
    "a small capital": "sa\u029fary",
    "a click for a bar": "salary \u01c0",
    "a blank of Braille": "INV-1\u2800",
    "a mark on a letter that has none": "sala\u0338ry",
    "a sign": "salary \u00d7 1",
    "a letter like a dash": "inv\u4e001",
}


@pytest.mark.parametrize("what", MIXED)
def test_a_reference_that_reads_as_another_is_none(what):
    assert canonical_reference(MIXED[what]) is None


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Stra\u00dfe 1", "strasse 1"),
        ("\u00c9t\u00e9 \u00d8", "\u00e9t\u00e9 \u00f8"),
        ("\u0130\u0131 1", "ii 1"),
        ("\u0417\u0430\u0440\u043f\u043b\u0430\u0442\u0430 5", "\u0437\u0430\u0440\u043f\u043b\u0430\u0442\u0430 5"),
        ("\u65e5\u672c\u30c6\u30b9\u30c8 7", "\u65e5\u672c\u30c6\u30b9\u30c8 7"),
        ("\u0661\u06f2", "12"),
        ("a#1/2_(3)&4", "a#1/2_(3)&4"),
    ],
)
def test_a_reference_of_one_script_is_one(text, folded):
    assert canonical_reference(text) == folded


def test_a_hidden_character_is_refused_and_not_posted(fraud, opened, treasurer):
    code, _, err = fraud("ledger", "fund", "ann", "GBP", "250", "--reference", "sal\u200bary")
    assert code == 2
    assert "characters that everybody sees" in err
    assert rows(treasurer)["ann", "GBP"] == (0, 500)


def test_a_reference_is_no_opening(fraud, opened, treasurer):
    """Both are known by a text; neither can take the other's place."""
    assert fraud("ledger", "fund", "ann", "GBP", "500", "--reference", "ann GBP")[0] == 0
    assert rows(treasurer)["ann", "GBP"] == (0, 1_000)


@pytest.mark.parametrize(
    ("arguments", "words", "expected"),
    [
        (("cid", "GBP", "5"), "cid is not open in GBP", 1),
        (("bob", "EUR", "5"), "bob is not open in EUR", 1),
        (("b b", "GBP", "5"), "account_id is not 1 to 64", 2),
        (("ann", "gbp", "5"), "no code of three capitals", 2),
        (("ann", "GPB", "5"), "The currency GPB is none that ISO 4217 gives a number of decimals", 2),
        (("ann", "GBP", str(10**15 + 1)), "no whole number from 0", 2),
    ],
)
def test_fund_answers_in_sentences(arguments, words, expected, fraud, opened):
    code, out, err = fraud("ledger", "fund", *arguments, "--reference", "salary 1")
    assert (code, out) == (expected, "")
    assert words in err
    assert "Traceback" not in err


def test_no_more_comes_in_than_the_database_can_hold_and_fund_says_so(fraud, opened, treasurer):
    """Though each funding alone is small enough."""
    assert fraud("ledger", "fund", "bob", "GBP", str(10**15), "--reference", "all of it")[0] == 0
    code, out, err = fraud("ledger", "fund", "bob", "GBP", "1", "--reference", "a penny more")
    assert (code, out) == (1, "")
    words = " ".join(err.split())
    assert "With £0.01 to bob, more than £10,000,000,000,000.00 would have come into it from outside" in words
    assert rows(treasurer)["bob", "GBP"] == (0, 10**15)


def test_the_database_holds_one_row_for_a_reference(treasurer, opened):
    """Whoever makes up another id for it included; and no reference is in two spellings of blanks."""
    insert = (
        "INSERT INTO ledger.funding (execution_id, account_id, currency, amount_minor, caused_at, kind, reference)"
        " VALUES (gen_random_uuid(), 'ann', 'GBP', 1, now(), %s, %s)"
    )
    append_fundings(treasurer, [Funding("FUNDING", "salary 1", "ann", "GBP", 250)], NOON_MS)
    with pytest.raises(psycopg.errors.UniqueViolation, match="reference_is_one"):
        treasurer.execute(insert, ["FUNDING", "salary 1"])
    with pytest.raises(psycopg.errors.UniqueViolation, match="reference_is_one"):
        treasurer.execute(insert, ["OPENING", "ann GBP"])
    for kind, reference in (
        ("FUNDING", "salary  1"), ("FUNDING", " salary"), ("FUNDING", "a\nb"), ("FUNDING", ""), ("FUNDING", None),
        (None, "salary 2"), ("GIFT", "salary 2"), ("OPENING", "bob GBP"), ("FUNDING", "x" * 141),
    ):  # fmt: skip
        with pytest.raises(psycopg.errors.CheckViolation, match="reference_is_said"):
            treasurer.execute(insert, [kind, reference])


def test_one_reference_for_two_customers_at_once_is_posted_for_one(database_url, fraud, opened, treasurer):
    def post(account_id: str) -> int:
        """In one connection, since the role may have few."""
        asked = [Funding("FUNDING", "salary 1", account_id, "GBP", 250)]
        with closing(connect(url_as(database_url, "fraud_treasurer"), "test")) as connection:
            return sum(append_fundings(connection, asked, NOON_MS) for _ in range(8))

    with ThreadPoolExecutor(2) as pool:
        posted = list(pool.map(post, ["ann", "bob"]))
    assert sum(posted) == 1
    assert sum(funded for _, funded in rows(treasurer).values()) == 500 + 250


# Accounts


def test_an_account_that_is_open_is_opened_again_only_with_the_same_terms(fraud, treasurer):
    assert fraud("ledger", "open", "ann", "GBP", "--balance", "500")[1].startswith("Opened ann in GBP with £5.00")
    assert "open already, with just these terms" in fraud("ledger", "open", "ann", "GBP", "--balance", "500")[1]
    for terms in (("--balance", "501"), (), ("--balance", "500", "--overdraft", "1")):
        code, out, err = fraud("ledger", "open", "ann", "GBP", *terms)
        assert (code, out) == (1, "")
        assert "ann was opened in GBP with £5.00 to begin with and an overdraft of £0.00, and not with" in err
    assert rows(treasurer) == {("ann", "GBP"): (0, 500)}


def test_a_funding_is_no_part_of_what_an_account_was_opened_with(fraud, opened):
    fraud("ledger", "fund", "ann", "GBP", "250", "--reference", "salary 1")
    assert fraud("ledger", "open", "ann", "GBP", "--balance", "500")[0] == 0


def test_a_file_is_opened_and_opening_it_again_does_nothing(fraud, treasurer, tmp_path):
    (tmp_path / "a.csv").write_text(f"{HEADER}ann,GBP,0,500\nann,EUR,7,0\nbob,JPY,0,9\n")
    assert fraud("ledger", "import", "a.csv")[:2] == (0, "3 accounts opened.\n")
    again = fraud("ledger", "import", "a.csv")
    assert again[:2] == (0, "0 of 3 accounts opened; open with just these terms before: 3.\n")
    assert rows(treasurer) == {("ann", "GBP"): (0, 500), ("ann", "EUR"): (7, 0), ("bob", "JPY"): (0, 9)}


def test_an_import_that_crashed_half_way_is_completed_by_the_next(fraud, treasurer, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.execute.ledger_admin_store.ROWS_A_STATEMENT", 2)
    openings = [Opening(f"c{n}", "GBP", 0, n + 1) for n in range(7)]
    append_openings(treasurer, openings[:4], NOON_MS)  # what the crash had left
    lines = "".join(f"{each.account_id},GBP,0,{each.opening_balance_minor}\n" for each in reversed(openings))
    (tmp_path / "a.csv").write_text(HEADER + lines)
    assert "3 of 7 accounts opened" in fraud("ledger", "import", "a.csv")[1]
    assert rows(treasurer) == {(each.account_id, "GBP"): (0, each.opening_balance_minor) for each in openings}


FAULTS = {
    "a line twice": ("ann,GBP,0,5\nann,GBP,0,5\n", 3, "stands in line 2 already"),
    "an account twice with other money": ("ann,GBP,0,5\nbob,GBP,0,5\nann,GBP,0,6\n", 4, "stands in line 2 already"),
    "a fraction": ("ann,GBP,0,5.00\n", 2, "opening_balance_minor is no whole number"),
    "grouped digits": ("ann,GBP,0,1_000\n", 2, "opening_balance_minor is no whole number"),
    "a blank": ("ann,GBP,0, 5\n", 2, "opening_balance_minor is no whole number"),
    "other digits": ("ann,GBP,0,٣\n", 2, "opening_balance_minor is no whole number"),
    "no amount": ("ann,GBP,0,\n", 2, "opening_balance_minor is no whole number"),
    "less than nothing": ("ann,GBP,-1,0\n", 2, "overdraft_limit_minor is no whole number"),
    "too large an overdraft": ("ann,GBP,100000001,0\n", 2, "overdraft_limit_minor is no whole number"),
    "too large a balance": (f"ann,GBP,0,{10**15 + 1}\n", 2, "opening_balance_minor is no whole number"),
    "too many digits": (f"ann,GBP,0,{10**40}\n", 2, "opening_balance_minor is no whole number"),
    "a field too few": ("ann,GBP,0\n", 2, "has 3 fields"),
    "a field too many": ("ann,GBP,0,1,000\n", 2, "has 5 fields"),
    "a slash in an id": ("/funding,GBP,0,5\n", 2, "account_id is not"),
    "a hidden character in an id": ("an\u200bn,GBP,0,5\n", 2, "account_id is not"),
    "a word for nothing": ("None,GBP,0,5\n", 2, "account_id stands for a missing value"),
    "no number": ("nan,GBP,0,5\n", 2, "account_id stands for a missing value"),
    "a dash for nothing": ("-,GBP,0,5\n", 2, "account_id stands for a missing value"),
    "a spreadsheet's number": ("1001.0,GBP,0,5\n", 2, "account_id looks like a floating-point number"),
    "a number with decimals": ("1001,GBP,0,5\n1001.00,GBP,0,5\n", 3, "account_id looks like a floating-point number"),
    "a number's power": ("1.2E15,GBP,0,5\n", 2, "account_id looks like a floating-point number"),
    "a currency in small letters": ("ann,gbp,0,5\n", 2, "currency is no code"),
    "a slip in a currency": ("ann,GPB,0,5\n", 2, "currency GPB is none"),
    "a currency without minor units": ("ann,XAU,0,5\n", 2, "currency XAU is none"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_file_with_a_fault_opens_nothing(what, fraud, treasurer, tmp_path):
    lines, number, words = FAULTS[what]
    (tmp_path / "a.csv").write_text(f"{HEADER}{lines}cid,GBP,0,5\n")
    code, out, err = fraud("ledger", "import", "a.csv")
    assert code == 1
    assert out.startswith(f"Line {number}: ")
    assert words in out
    assert "Nothing was opened" in err
    assert rows(treasurer) == {}


UNUSABLE = {
    "other columns": b"account,currency\n1,2\n",
    "columns in another order": b"currency,account_id,overdraft_limit_minor,opening_balance_minor\n",
    "semicolons": HEADER.replace(",", ";").encode(),
    "another encoding": HEADER.encode() + "Müller,GBP,0,5\n".encode("latin-1"),
    "UTF-16": HEADER.encode("utf-16"),
    "a quote that never ends": HEADER.encode() + b'"ann,GBP,0,5\n',
    "nothing": b"",
    "a line that is cut off": f"{HEADER}ann,GBP,0,5\nbob,GBP,0,12".encode(),
    "its only line cut off": f"{HEADER}ann,GBP,0,12".encode(),
    "a line that is cut off, with ends of two characters": f"{HEADER}ann,GBP,0,5\nbob,GBP,0,12".replace(
        "\n", "\r\n"
    ).encode(),
    "a cut at a quoted value": f'{HEADER}ann,GBP,0,"12"'.encode(),
    "a cut behind the first line": HEADER.encode(),
    "a cut before the first line's end": HEADER.rstrip().encode(),
    "blank lines alone": f"{HEADER}\n\n".encode(),
    "a line that never ends": HEADER.encode() + bytes(5_000_000),
}
UNUSABLE_IN_WORDS = {
    "a cut behind the first line": "has no account behind its first line",
    "a line that never ends": "its line 2 has more than 1,000 characters",
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_file_that_is_none_is_refused_in_a_sentence(what, fraud, treasurer, tmp_path):
    (tmp_path / "a.csv").write_bytes(UNUSABLE[what])
    code, out, err = fraud("ledger", "import", "a.csv")
    assert (code, out) == (2, "")
    assert "a.csv" in err
    assert UNUSABLE_IN_WORDS.get(what, "") in err
    assert rows(treasurer) == {}


def test_an_account_in_a_currency_that_is_none_is_not_opened(fraud, treasurer):
    code, out, err = fraud("ledger", "open", "ann", "GPB")
    assert (code, out) == (2, "")
    assert "The currency GPB is none" in err
    assert rows(treasurer) == {}


def test_an_id_that_a_file_may_not_have_is_opened_alone(fraud, treasurer):
    assert fraud("ledger", "open", "NA", "GBP")[0] == 0
    assert rows(treasurer) == {("NA", "GBP"): (0, 0)}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
def test_a_file_that_ends_its_last_line_is_whole(end, fraud, treasurer, tmp_path):
    (tmp_path / "a.csv").write_bytes(f"{HEADER}ann,GBP,0,12\n".replace("\n", end).encode())
    assert fraud("ledger", "import", "a.csv")[0] == 0
    assert rows(treasurer) == {("ann", "GBP"): (0, 12)}


def test_a_missing_file_is_said_so(fraud):
    assert fraud("ledger", "import", "none.csv")[0] == 2


def test_a_byte_order_mark_is_no_part_of_the_first_column(fraud, tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + f"{HEADER}ann,GBP,0,5\n".encode())
    assert fraud("ledger", "import", "a.csv")[0] == 0


def test_a_hundred_faults_are_shown_and_no_more(fraud, tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + "ann,GBP,0,x\n" * 150)
    code, out, _ = fraud("ledger", "import", "a.csv", "--json")
    faults = [json.loads(line) for line in out.splitlines()]
    assert (code, len(faults), faults[0]["line"], faults[-1]["line"]) == (1, 100, 2, 101)


def test_a_file_that_contradicts_what_is_open_opens_nothing(fraud, opened, treasurer, tmp_path, monkeypatch):
    """Though the contradiction stands behind what would have been stored already."""
    monkeypatch.setattr("pipeline.execute.ledger_admin_store.ROWS_A_STATEMENT", 2)
    before = rows(treasurer)
    lines = "".join(f"a{n},GBP,0,5\n" for n in range(9))
    (tmp_path / "a.csv").write_text(f"{HEADER}{lines}bob,GBP,0,9\n")
    code, out, err = fraud("ledger", "import", "a.csv")
    assert (code, out) == (1, "")
    assert "bob was opened in GBP with £0.00 to begin with" in err
    assert "and not with £0.09" in err
    assert rows(treasurer) == before


def test_what_contradicts_a_file_is_told_in_part_and_the_rest_is_counted(fraud, treasurer, tmp_path):
    append_openings(treasurer, [Opening(f"c{n:02d}", "GBP", 0, 1) for n in range(25)], NOON_MS)
    (tmp_path / "a.csv").write_text(HEADER + "".join(f"c{n:02d},GBP,0,2\n" for n in range(25)))
    code, _, err = fraud("ledger", "import", "a.csv")
    words = " ".join(err.split())
    assert (code, words.count("was opened in GBP")) == (1, 20)
    assert "At least 5 more contradict what is open." in words
    assert "Nothing was done" in words


def test_an_import_that_another_contradicts_meanwhile_says_what_it_opened(
    database_url, fraud, treasurer, tmp_path, monkeypatch
):
    """Two files at once: neither saw the other's account when it compared, and something was done."""
    monkeypatch.setattr("pipeline.execute.ledger_admin_store.ROWS_A_STATEMENT", 2)
    (tmp_path / "a.csv").write_text(HEADER + "".join(f"c{n},GBP,0,5\n" for n in range(6)))
    with closing(connect(url_as(database_url, "fraud_treasurer"), "test")) as other, ThreadPoolExecutor(1) as pool:
        with other.transaction():
            _open_part(other, [Opening("c3", "GBP", 0, 9)], NOON_MS)
            importing = pool.submit(fraud, "ledger", "import", "a.csv")
            wait_until(lambda: ("c1", "GBP") in rows(treasurer), WAIT_MAX_S, "the first part", every_s=0.05)
        code, out, err = importing.result(timeout=WAIT_MAX_S)
    words = " ".join(err.split())
    assert (code, out) == (1, "")
    assert "c3 was opened in GBP with £0.09 to begin with" in words
    assert "Only 2 accounts, the first by id, came to be opened: correct it" in words
    assert "Nothing was done" not in words
    opened = {("c0", "GBP"): (0, 5), ("c1", "GBP"): (0, 5), ("c3", "GBP"): (0, 9)}
    assert rows(treasurer) == opened


def test_imports_at_once_open_each_account_once(database_url, treasurer, monkeypatch):
    """In whatever order each has them: none waits for another in a circle."""
    monkeypatch.setattr("pipeline.execute.ledger_admin_store.ROWS_A_STATEMENT", 50)
    openings = [Opening(f"c{n:03d}", "GBP", 0, n + 1) for n in range(300)]

    def load(number: int) -> int:
        with closing(connect(url_as(database_url, "fraud_treasurer"), "test")) as connection:
            return append_openings(connection, openings if number % 2 else openings[::-1], NOON_MS)

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(load, range(4))) == 300
    assert rows(treasurer) == {(each.account_id, "GBP"): (0, each.opening_balance_minor) for each in openings}


def test_an_account_twice_among_the_openings_is_a_conflict(treasurer):
    with pytest.raises(LedgerConflict, match="was opened in GBP"):
        append_openings(treasurer, [Opening("ann", "GBP", 0, 5), Opening("ann", "GBP", 0, 6)], NOON_MS)
    assert rows(treasurer) == {}
