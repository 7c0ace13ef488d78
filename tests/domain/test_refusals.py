import gc

import pytest

from pipeline.domain import refusals
from pipeline.domain.log import Source
from pipeline.domain.payment import AMOUNT_MINOR_MAX
from pipeline.domain.refusals import RefusalCode, canonical_ip_address, refusal_of, zone_of
from tests.records import NOON_MS, PAYMENT

SOURCE = Source(0, 7, NOON_MS)
DAY_MS = 86_400_000


def code_of(key=None, **changes):
    payment = PAYMENT._replace(**changes)
    refusal = refusal_of(payment, payment.account_id.encode() if key is None else key, SOURCE)
    return refusal and refusal.code


def test_a_sound_payment_is_not_refused():
    assert code_of() is None


@pytest.mark.parametrize(
    ("first", "last"), [(0x00, 0x1F), (0x7F, 0x9F), (0x2028, 0x2029), (0x202A, 0x202E), (0x2066, 0x2069)]
)
def test_every_control_is_refused_in_a_text(first, last):
    """Also by a Python whose Unicode takes another of them for printable."""
    for point in range(first, last + 1):
        assert code_of(reference=f"a{chr(point)}b") is RefusalCode.TEXT_INVALID
        assert code_of(beneficiary_name=chr(point)) is RefusalCode.TEXT_INVALID


def test_a_text_may_hold_what_is_neither_printable_nor_a_control():
    assert code_of(reference="a\u00a0b\u3000c\ue000") is None


FAULTS_IN_ORDER = (
    {"transaction_id": "tx 1"},
    {"source_system": "core\n"},
    {"amount_minor": -1},
    {"currency": "gbp"},
    {"reference": "\x00"},
    {"ip_address": "999.1.1.1"},
    {"device_id": ""},
    {"event_time_ms": 0},
    {"account_time_zone": "Factory"},
    {"segments": {"A": "b"}},
)


@pytest.mark.parametrize("first", range(len(FAULTS_IN_ORDER)))
def test_of_several_faults_the_first_in_order_is_told(first):
    alone = code_of(**FAULTS_IN_ORDER[first])
    assert alone is not None
    for other in FAULTS_IN_ORDER[first + 1 :]:
        assert code_of(**FAULTS_IN_ORDER[first], **other) is alone


def test_what_a_payment_need_not_name_is_not_looked_for():
    assert code_of(source_system=None, device_id=None) is None
    assert code_of(source_system="core-1", device_id="device-1") is None


@pytest.mark.parametrize("name", ["source_system", "device_id"])
@pytest.mark.parametrize("text", ["", "a b", "x" * 65, "core\ncore", "\n", "-\n-"])
def test_what_a_payment_names_is_sound_though_it_need_not_be_named(name, text):
    code = RefusalCode.IDENTIFIER_INVALID if name == "source_system" else RefusalCode.DEVICE_INVALID
    assert code_of(**{name: text}) is code


def test_a_payment_of_nothing_is_not_refused():
    assert code_of(amount_minor=0) is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"transaction_id": ""}, RefusalCode.IDENTIFIER_INVALID),
        ({"transaction_id": "x" * 65}, RefusalCode.IDENTIFIER_INVALID),
        ({"transaction_id": "tx-1\n"}, RefusalCode.IDENTIFIER_INVALID),
        ({"account_id": "GB29-000а"}, RefusalCode.IDENTIFIER_INVALID),  # a Cyrillic letter
        ({"beneficiary_account_id": "GB29 0001"}, RefusalCode.IDENTIFIER_INVALID),
        ({"amount_minor": -1}, RefusalCode.AMOUNT_OUT_OF_RANGE),
        ({"amount_minor": AMOUNT_MINOR_MAX + 1}, RefusalCode.AMOUNT_OUT_OF_RANGE),
        ({"currency": "gbp"}, RefusalCode.CURRENCY_MALFORMED),
        ({"currency": "GBPX"}, RefusalCode.CURRENCY_MALFORMED),
        ({"beneficiary_country": "G"}, RefusalCode.CURRENCY_MALFORMED),
        ({"reference": "x" * 141}, RefusalCode.TEXT_INVALID),
        ({"beneficiary_name": "Jane\u202eSmith"}, RefusalCode.TEXT_INVALID),
        ({"ip_address": "999.1.1.1"}, RefusalCode.IP_ADDRESS_INVALID),
        ({"ip_address": "fe80::1%eth0"}, RefusalCode.IP_ADDRESS_INVALID),
        ({"ip_address": ""}, RefusalCode.IP_ADDRESS_INVALID),
        ({"device_id": "d" * 65}, RefusalCode.DEVICE_INVALID),
        ({"event_time_ms": 0}, RefusalCode.TIME_OUT_OF_RANGE),
        ({"event_time_ms": 2**62}, RefusalCode.TIME_OUT_OF_RANGE),
        ({"event_time_ms": NOON_MS + 300_001}, RefusalCode.TIME_IN_FUTURE),
        ({"account_opened_epoch_day": 2**30}, RefusalCode.OPENING_DATE_INVALID),
        ({"account_opened_epoch_day": -(2**30)}, RefusalCode.OPENING_DATE_INVALID),
        ({"beneficiary_opened_at_ms": NOON_MS + 2 * DAY_MS}, RefusalCode.OPENING_DATE_INVALID),
        ({"account_time_zone": "Europe/Atlantis"}, RefusalCode.TIME_ZONE_UNKNOWN),
        ({"account_time_zone": "../../etc/passwd"}, RefusalCode.TIME_ZONE_UNKNOWN),
        ({"account_time_zone": ""}, RefusalCode.TIME_ZONE_UNKNOWN),
        ({"account_time_zone": "Europe"}, RefusalCode.TIME_ZONE_UNKNOWN),
        ({"segments": {f"s{n}": "x" for n in range(9)}}, RefusalCode.SEGMENTS_INVALID),
        ({"segments": {"Postcode": "SW"}}, RefusalCode.SEGMENTS_INVALID),
        ({"segments": {"postcode": ""}}, RefusalCode.SEGMENTS_INVALID),
        ({"segments": {"postcode": "x" * 33}}, RefusalCode.SEGMENTS_INVALID),
    ],
)
def test_each_defect_has_its_code(changes, code):
    assert code_of(**changes) == code


@pytest.mark.parametrize(
    "changes",
    [
        {"event_time_ms": NOON_MS + 300_000, "beneficiary_opened_at_ms": None},
        {"amount_minor": AMOUNT_MINOR_MAX},
        {"reference": None, "beneficiary_name": None, "ip_address": None, "device_id": None, "segments": {}},
        {"ip_address": "2001:DB8::1"},
        {"account_opened_epoch_day": NOON_MS // DAY_MS},
        {"beneficiary_name": "Łukasz Żółć-O'Neil"},
    ],
)
def test_what_is_unusual_but_sound_passes(changes):
    assert code_of(**changes) is None


@pytest.mark.parametrize("key", [b"", b"GB29-0002", b"\xff"])
def test_a_key_unlike_the_account_is_refused(key):
    assert code_of(key) == RefusalCode.KEY_MISMATCH


def test_a_record_without_a_key_is_refused():
    refusal = refusal_of(PAYMENT, None, SOURCE)
    assert refusal is not None
    assert refusal.code == RefusalCode.KEY_MISMATCH


def test_the_first_code_in_order_is_the_reason():
    assert code_of(b"other", transaction_id="", amount_minor=-1) == RefusalCode.KEY_MISMATCH
    assert code_of(transaction_id="", amount_minor=-1) == RefusalCode.IDENTIFIER_INVALID


@pytest.mark.parametrize(
    ("spelling", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("::FFFF:C000:0201", "192.0.2.1"),
        ("0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1"),
        ("0000:0000:0000:0000:0000:ffff:c000:0201", "192.0.2.1"),
        ("0000:0000:0000:0000:0000:ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:0:192.0.2.1", "192.0.2.1"),
        ("::192.0.2.1", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "192.0.2.1"),
        ("2002:c000:201::", "192.0.2.1"),
        ("2002:c000:201:7::9", "192.0.2.1"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdfe", "192.0.2.1"),
        ("2001:0DB8:0::0001", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::1", "::1"),
        ("::", "::"),
        ("0:0:0:0:0:fffe:c000:201", "::fffe:c000:201"),
        ("64:ff9b:1::192.0.2.1", "64:ff9b:1::c000:201"),  # for each network to use as it likes
    ],
)
def test_one_address_has_one_spelling(spelling, address):
    assert canonical_ip_address(spelling) == address


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.01", "::ffff:192.0.2.01", "192.0.2.1 ", " 192.0.2.1", "192.0.2", "3221225985", "0xc0000201",
        "192.0.2.1/32",
        "192.0.2.1:443", "[2001:db8::1]", "fe80::1%eth0", "::ffff:192.0.2.1%1",
        "\uff11\uff192.0.2.1", "192\u30020.2.1",
        "2001:db8::\u0661", "02001:db8::1",
    ],
)  # fmt: skip
def test_what_only_looks_like_an_address_is_none(text):
    assert canonical_ip_address(text) is None


def test_no_long_text_is_remembered():
    kept = refusals._canonical_ip_address, refusals._zone_of, refusals._is_segment
    for cache in kept:
        cache.cache_clear()  # of what other tests asked
    for number in range(100):
        text = f"{number}:{'9' * 16_000}"
        assert canonical_ip_address(text) is None
        assert zone_of(text) is None
        assert code_of(segments={"postcode": text}) is RefusalCode.SEGMENTS_INVALID
        assert code_of(segments={text: "SW"}) is RefusalCode.SEGMENTS_INVALID
    held = [each for each in gc.get_objects() if isinstance(each, str) and len(each) > 16_000]
    assert held == []
    assert all(cache.cache_info().currsize < 100 for cache in kept)


@pytest.mark.parametrize("log_time_ms", [-1, 0, 1_420_070_399_999, 2_493_072_000_000, NOON_MS * 1000])
def test_a_record_without_a_usable_log_time_is_refused(log_time_ms):
    refusal = refusal_of(PAYMENT, PAYMENT.account_id.encode(), Source(0, 7, log_time_ms))
    assert refusal is not None
    assert refusal.code is RefusalCode.TIME_OUT_OF_RANGE


@pytest.mark.parametrize("value", [" SW", "SW ", " ", "\u00a0SW", "S\u200bW", "ＳＷ", "SW\n"])
def test_a_segment_has_one_spelling_that_a_reader_sees(value):
    """Else a blank that nobody sees would make a segment of its own, which no breaker has tripped for."""
    assert code_of(segments={"postcode_area": value}) is RefusalCode.SEGMENTS_INVALID


@pytest.mark.parametrize(
    "country",
    ["gb", "Gb", "GB ", " GB", "G", "GBR", "ＧＢ", "\u0420U", "R\u0423", "GB\n", "G\u0412", "G\u200bB", "", "12"],
)
def test_a_country_that_only_looks_like_a_code_is_refused(country):
    assert code_of(beneficiary_country=country) is RefusalCode.CURRENCY_MALFORMED


@pytest.mark.parametrize("currency", ["gbp", "GBP ", "ＧＢＰ", "GB\u0420", "£", "GBP\n", ""])
def test_a_currency_that_only_looks_like_a_code_is_refused(currency):
    assert code_of(currency=currency) is RefusalCode.CURRENCY_MALFORMED


@pytest.mark.parametrize("field", ["transaction_id", "account_id", "beneficiary_account_id"])
@pytest.mark.parametrize(
    "text", ["GB29 0001", "GB29\u00a00001", "GB29\u20110001", "GB29/1", "ＧＢ29", "a\u0301", "ß\n", "a b"]
)
def test_an_id_has_one_spelling(field, text):
    assert code_of(**{field: text}) is RefusalCode.IDENTIFIER_INVALID


@pytest.mark.parametrize("device", ["", "d 1", " d", "d ", "ｄ1", "d\u200b", "d\n"])
def test_a_device_has_one_spelling(device):
    assert code_of(device_id=device) is RefusalCode.DEVICE_INVALID


@pytest.mark.parametrize(
    "zone",
    ["europe/london", "Europe/London ", "posix/Europe/London", "right/UTC", "localtime", "Factory", "\0", "zone.tab"],
)
def test_a_time_zone_has_its_name_only(zone):
    assert code_of(account_time_zone=zone) is RefusalCode.TIME_ZONE_UNKNOWN


def test_no_refusal_quotes_the_payment():
    for changes in ({"transaction_id": "secret\n"}, {"reference": "secret" * 40}, {"account_time_zone": "secret"}):
        refusal = refusal_of(PAYMENT._replace(**changes), b"GB29-0001", SOURCE)
        assert refusal is not None
        assert "secret" not in refusal.detail


@pytest.mark.parametrize("word", sorted(refusals.WORDS_FOR_NOTHING | refusals.PLACEHOLDERS))
def test_every_word_for_nothing_is_looked_into_in_whatever_case(word):
    for spelt in (word, word.upper(), word.title(), f" {word} ", f"\u200b{word}"):
        assert refusals.says_nothing(spelt), spelt
        assert not refusals.says_nothing(f"{spelt} 7")


def test_an_iban_is_found_in_every_spelling_and_nowhere_else():
    sound = (
        "GB82WEST12345698765432",
        "gb82west12345698765432",
        "GB82-WEST-1234-5698-7654-32",
        ":_.GB82WEST12345698765432",
    )
    assert {refusals.iban_in(text) for text in sound} == {sound[0]}
    others = ("GB83WEST12345698765432", "GB82WEST1234569876543", "term-0000000000000123", "GB00WEST12345698765432", "")
    assert {refusals.iban_in(text) for text in others} == {None}
