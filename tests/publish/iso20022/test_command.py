"""`fraud payments publish` on messages: what is told beside them, what it shows, and that no fault is published."""

from __future__ import annotations

import gzip
import json

import pytest

from ops.cli import run
from tests.publish.iso20022.given import PAYER, UETR, pacs, pain

ACCOUNTS = f"account_id,account_opened,account_time_zone\n{PAYER},2015-01-01,Europe/London\n"
TOLD = '[constants]\naccount_opened = "2015-01-01"\naccount_time_zone = "Europe/London"\n'


@pytest.fixture
def check(monkeypatch, capsys, tmp_path):
    """Looks at a message with --check: the exit code, the answers as JSON, and what was said on stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "accounts.csv").write_text(ACCOUNTS)

    def command(message, *options, name="message.xml"):
        (tmp_path / name).write_bytes(message if isinstance(message, bytes) else message.encode())
        told = options or ("--accounts", "accounts.csv")
        code = run(["payments", "publish", name, "--check", "--json", *told])
        printed = capsys.readouterr()
        return code, [json.loads(line) for line in printed.out.splitlines()], printed.err

    return command


def told(tmp_path, text):
    (tmp_path / "map.toml").write_text(text)
    return "--map", "map.toml"


def test_a_sound_message_is_counted_and_what_has_no_place_is_named(check):
    code, found, _ = check(pain())
    assert code == 0
    assert found[-1] == {"file": "message.xml", "payments": 2, "faults": 0, "has_more": False}
    assert {"file": "message.xml", "element": "CstmrCdtTrfInitn/PmtInf/BtchBookg", "left_out": 1} in found


def test_people_read_sentences(monkeypatch, capsys, tmp_path):
    (tmp_path / "m.xml").write_text(pain().replace("<CtrlSum>201.03", "<CtrlSum>201.04", 1))
    (tmp_path / "a.csv").write_text(ACCOUNTS)
    monkeypatch.chdir(tmp_path)
    assert run(["payments", "publish", "m.xml", "--check", "--accounts", "a.csv"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "No payment has a place for the element CstmrCdtTrfInitn/PmtInf/ChrgBr, which stands there once." in lines
    assert lines[-2:] == [
        "Line 4, element 'CstmrCdtTrfInitn/GrpHdr/CtrlSum': is not what the amounts come to.",
        "2 payments of m.xml: 1 fault.",
    ]


@pytest.mark.parametrize("name", ["message.XML", "message.txt", "message", "message.xml.gz"])
def test_a_message_is_known_by_its_bytes(name, check):
    content = pain().encode()
    code, found, _ = check(gzip.compress(content) if name.endswith("gz") else content, name=name)
    assert (code, found[-1]["payments"]) == (0, 2)


def test_what_accounts_lack_may_be_said_of_all_by_the_map(check, tmp_path):
    code, found, _ = check(pain(), *told(tmp_path, TOLD))
    assert (code, found[-1]["payments"]) == (0, 2)


def test_the_map_says_the_zone_of_times_and_what_is_finer_than_milliseconds(check, tmp_path):
    message = pain().replace("09:00:00Z", "10:00:00.123456")
    zone = f'{TOLD}[times]\nevent_time = {{zone = "Europe/Berlin", below_ms = "cut"}}\n'
    assert check(message, *told(tmp_path, zone))[0] == 0
    assert check(message, *told(tmp_path, TOLD))[0] == 1


def test_without_accounts_each_payer_is_unknown(check, tmp_path):
    code, found, _ = check(pain(), *told(tmp_path, "# nothing\n"))
    assert code == 1
    assert [each["element"] for each in found if "fault" in each] == [
        f"CstmrCdtTrfInitn/PmtInf[1]/CdtTrfTxInf[{number}]/DbtrAcct" for number in (1, 2)
    ]


UNUSABLE_MAPS = {
    "columns": '[columns]\naccount_id = "Konto"\n',
    "values": "[values.fraud]\nja = true\n",
    "a way of writing": '[file]\ndecimal = ","\n',
    "a currency": '[constants]\ncurrency = "EUR"\n',
    "a country": '[constants]\nbeneficiary_country = "DE"\n',
    "a form of times": '[times]\nevent_time = {format = "%d.%m.%Y %H:%M", zone = "Europe/Berlin"}\n',
    "half of an account": '[constants]\naccount_opened = "2015-01-01"\n',
    "an opening date that is none": '[constants]\naccount_opened = "2015-02-30"\naccount_time_zone = "Europe/London"\n',
    "a zone that is none": '[constants]\naccount_opened = "2015-01-01"\naccount_time_zone = "Europe/Atlantis"\n',
    "a channel that is none": f'{TOLD}channel = "PIGEON"\n',
}


@pytest.mark.parametrize("what", UNUSABLE_MAPS)
def test_a_map_that_has_no_place_is_refused(what, check, tmp_path):
    code, found, err = check(pain(), *told(tmp_path, UNUSABLE_MAPS[what]))
    assert (code, found) == (2, [])
    assert "map" in err


UNUSABLE_ACCOUNTS = {
    "other columns": "id,opened,zone\n",
    "an account twice": f"{ACCOUNTS}{PAYER},2015-01-01,Europe/London\n",
    "a field too few": f"{ACCOUNTS}GB1,2015-01-01\n",
    "a date that is none": f"{ACCOUNTS}GB1,2015-02-30,Europe/London\n",
    "a zone that is none": f"{ACCOUNTS}GB1,2015-01-01,Mars/Olympus\n",
    "an id that is none": f"{ACCOUNTS}GB 1,2015-01-01,Europe/London\n",
    "a last line that is cut off, of Etc/GMT+12": f"{ACCOUNTS}GB1,2015-01-01,Etc/GMT+1",
    "a line that never ends": f"{ACCOUNTS}{'9' * 100_000}\n",
    "a quote that never ends": f'{ACCOUNTS}"GB1,2015-01-01,Europe/London\n',
}


@pytest.mark.parametrize("what", UNUSABLE_ACCOUNTS)
def test_accounts_that_are_none_are_refused(what, check, tmp_path):
    (tmp_path / "other.csv").write_text(UNUSABLE_ACCOUNTS[what])
    code, found, err = check(pain(), "--accounts", "other.csv")
    assert (code, found) == (2, [])
    assert "other.csv" in err


def test_accounts_and_constants_that_say_the_same_are_refused(check, tmp_path):
    assert check(pain(), "--accounts", "accounts.csv", *told(tmp_path, TOLD))[0] == 2


def test_accounts_beside_a_table_are_refused(check):
    assert check("transaction_id,account_id\n", "--accounts", "accounts.csv", name="a.csv")[0] == 2


def test_labels_are_refused(check):
    assert check(pain(), "--accounts", "accounts.csv", "--labels")[0] == 2


DUPLICATES = {
    "an end-to-end id": pain().replace("INVOICE-2", "INVOICE-1"),
    "a UETR": pacs().replace(f"{UETR[:-4]}0002", f"{UETR[:-4]}0001"),
    "all in one line": pain().replace("INVOICE-2", "INVOICE-1").replace("\n", ""),
}


@pytest.mark.parametrize("what", DUPLICATES)
def test_a_payment_that_comes_twice_in_a_file_is_a_fault(what, check):
    code, found, _ = check(DUPLICATES[what])
    assert code == 1
    [fault] = [each["fault"] for each in found if "fault" in each]
    assert "has the transaction_id of line" in fault


def test_one_end_to_end_id_of_two_payers_is_two_payments(check, tmp_path):
    other = "GB82WEST12345698765432"
    (tmp_path / "both.csv").write_text(f"{ACCOUNTS}{other},2016-01-01,Europe/London\n")
    message = pain().replace("INVOICE-2", "INVOICE-1")
    begin, end = message.index("  <PmtInf>"), message.index(" </CstmrCdtTrfInitn>")
    one = message[begin:end].replace("</PmtInf>", "</PmtInf>")
    second = one.replace(PAYER, other).replace("<NbOfTxs>2", "<NbOfTxs>1").replace("201.03", "100.51")
    first_end, last_begin = second.index("   <CdtTrfTxInf>"), second.index("  </PmtInf>")
    payment = second[first_end : second.index("</CdtTrfTxInf>") + len("</CdtTrfTxInf>\n")]
    second = second[:first_end] + payment + second[last_begin:]
    first = one.replace("<NbOfTxs>2", "<NbOfTxs>1").replace("201.03", "100.51")
    first = first[: first.index("   <CdtTrfTxInf>")] + payment + "  </PmtInf>\n"
    whole = message[:begin].replace("201.03", "201.02") + first + second + message[end:]
    code, found, _ = check(whole, "--accounts", "both.csv")
    assert (code, found[-1]["payments"]) == (0, 2), found


def test_a_payment_of_the_future_is_a_fault(check):
    code, found, _ = check(pain().replace("2025-11-24", "2047-11-24"))
    assert code == 1
    assert any("5 minutes ahead" in each.get("fault", "") for each in found)


def test_a_limit_does_not_shorten_the_check(check):
    """A message that breaks off, or whose sum is wrong, is no message, however few of its payments are asked for."""
    options = ("--accounts", "accounts.csv", "--limit", "1")
    assert check(pain()[:-30], *options)[0] == 1
    assert check(pain().replace("<CtrlSum>201.03", "<CtrlSum>201.04", 1), *options)[0] == 1
    assert check(pain(), *options)[0] == 0


def test_a_hundred_faults_are_listed_and_no_more(check):
    message = pain(payments=150)
    message = message.replace('Ccy="EUR"', 'Ccy="EUX"')
    code, found, _ = check(message)
    assert (code, sum("fault" in each for each in found), found[-1]["has_more"]) == (1, 100, True)


def test_nothing_of_a_message_with_a_fault_is_published(monkeypatch, capsys, tmp_path, stack):
    """The publisher is never made: the failure stands before the first record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRAUD_BOOTSTRAP_SERVERS", stack.bootstrap_servers)
    (tmp_path / "a.csv").write_text(ACCOUNTS)
    (tmp_path / "m.xml").write_text(pain()[:-30])
    published: list[object] = []
    monkeypatch.setattr("pipeline.publish.file_command.publish_payments", lambda *_, **__: published.append(1))
    assert run(["payments", "publish", "m.xml", "--accounts", "a.csv"]) == 2
    assert "Nothing was published" in capsys.readouterr().err
    assert published == []


def test_a_sound_message_is_published(monkeypatch, capsys, tmp_path, stack):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRAUD_BOOTSTRAP_SERVERS", stack.bootstrap_servers)
    (tmp_path / "a.csv").write_text(ACCOUNTS)
    (tmp_path / "m.xml").write_text(pain())
    assert run(["payments", "publish", "m.xml", "--accounts", "a.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["transactions"] == 2
