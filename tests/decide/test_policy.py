import hashlib

import pytest

from pipeline.decide.policy import PolicyRefused, parse_policy
from tests.records import POLICY_PATH

DEFAULT = POLICY_PATH.read_text()


def refused(text):
    with pytest.raises(PolicyRefused) as caught:
        parse_policy(text.encode())
    return str(caught.value)


def test_default_policy_parses_and_carries_its_hash():
    policy = parse_policy(DEFAULT.encode())
    assert policy.sha256 == hashlib.sha256(DEFAULT.encode()).digest()
    assert policy.hard.max_single_transaction_gbp_minor == 5_000_000
    assert (policy.soft.unusual_hours_local.from_minute, policy.soft.unusual_hours_local.to_minute) == (60, 300)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('version = "2026-11-01"', "", "version: is missing"),
        ("[soft]", "[soft]\nvelocity = 3", "soft.velocity: unknown key"),
        ("= 5_000_000", "= 50_000_000", "hard: max_single_transaction_gbp_minor is above max_daily_volume"),
        ("= 5_000_000", "= 50000.00", "hard.max_single_transaction_gbp_minor: Input should be a valid integer"),
        ("= 5_000_000", "= true", "hard.max_single_transaction_gbp_minor: Input should be a valid integer"),
        ("= 5_000_000", "= -1", "hard.max_single_transaction_gbp_minor: Input should be greater than or equal to 1"),
        ('from = "01:00"', 'from = "06:00"', "soft.unusual_hours_local: 'from' must be before 'to'"),
        ('from = "01:00"', 'from = "25:00"', "soft.unusual_hours_local.from: "),
        ("confidence_minimum_bp = 8_000", "confidence_minimum_bp = 0", "soft.confidence_minimum_bp: "),
        ('"ip_fraud_reports", at_least = 3', '"ip_reports", at_least = 3', "fallback.rules.0.when.0: unknown feature"),
        (
            '"FALLBACK_REPORTED_DEVICE"',
            '"FALLBACK_REPORTED_IP"',
            "fallback.rules: the rule FALLBACK_REPORTED_IP stands",
        ),
        ('outcome = "BLOCK"', 'outcome = "ALLOW"', "fallback.rules.0.outcome: "),
        ('gbp = "0.8720"', "gbp = 0.8720", "exchange_rates.currencies.1.gbp: "),
        ('gbp = "0.8720"', 'gbp = "0"', "exchange_rates.currencies.1.gbp: a rate must be above 0"),
        ('code = "EUR"', 'code = "USD"', "exchange_rates.currencies: a currency stands twice"),
        ("until = 2025-05-20", "until = 2001-05-20", "sanctioned_countries.2: the sanction on SY ends before"),
        ("block_probability_ppm = 800_000", "block_probability_ppm = 5", "model.block_probability_ppm: "),
    ],
)
def test_each_mistake_is_refused_with_its_place(old, new, sentence):
    assert old in DEFAULT
    assert refused(DEFAULT.replace(old, new, 1)).startswith(sentence)


def test_every_half_written_file_is_refused():
    lines = DEFAULT.splitlines(keepends=True)
    whole = {len(lines), *(n for n in range(len(lines)) if not "".join(lines[n:]).strip())}
    complete_from = next(n for n, line in enumerate(lines) if line.startswith("[[sanctioned_countries]]"))
    for length in range(complete_from):
        if length not in whole:
            refused("".join(lines[:length]))


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(PolicyRefused, match="not UTF-8 at byte 3"):
        parse_policy(b"abc\xff")
