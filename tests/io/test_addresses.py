"""Addresses are shown without what may be a secret, however they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.io.addresses import UNSHOWN, database_options, shown_address
from pipeline.io.postgres import DatabaseRefused, DatabaseUnavailable, connect, opened

SHOWN = {
    "postgresql://fraud_audit:s3cret@postgres:5432/fraud?sslmode=verify-full": "postgresql://postgres:5432/fraud",
    "postgresql://postgres/fraud?user=fraud_audit&password=s3cret": "postgresql://postgres/fraud",
    "postgresql://u:s3cret%40%2F%3F@[::1]:5432/fraud": "postgresql://[::1]:5432/fraud",
    "postgresql://u:s3cret@a:1,b:2/fraud": "postgresql://a:1,b:2/fraud",
    "host=postgres port=5432 dbname=fraud password=s3cret": "postgresql://postgres:5432/fraud",
    "dbname=fraud host=postgres password='s3cret @ x'": "postgresql://postgres/fraud",
    "redis://:s3cret@redis:6379/0": "redis://redis:6379/0",
    "rediss+sentinel://w:s3cret@a:1,b:2/mine/0?sentinel_password=s3cret": "rediss+sentinel://a:1,b:2/mine/0",
    "unix:///var/run/redis.sock?password=s3cret": "unix:///var/run/redis.sock",
    "http://127.0.0.1:8081": "http://127.0.0.1:8081",
}
UNWRITTEN = [
    "postgresql://u:s3cret/with/slash@postgres/fraud",
    "postgresql://u:s3cret?question@postgres/fraud",
    "postgresql://u:s3cret#hash@postgres/fraud",
    "redis://s3cret/0@redis",
    "redis:s3cret@redis",
    "host=postgres password='s3cret",
    "password=s3cret host=postgres;drop",
    "postgres//u:s3cret@h",
    "postgresql://h:s3cret/fraud",
    "s3cret",
]


@pytest.mark.parametrize(("url", "expected"), SHOWN.items())
def test_host_port_and_name_are_shown(url: str, expected: str) -> None:
    assert expected == shown_address(url)


@pytest.mark.parametrize("url", UNWRITTEN)
def test_what_is_not_understood_is_not_shown(url: str) -> None:
    assert "s3cret" not in shown_address(url)


PASSWORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=30)


@given(PASSWORDS)
def test_no_password_is_shown_that_was_not_encoded(password: str) -> None:
    for url in (f"postgresql://fraud_x:{password}@postgres/fraud", f"redis://fraud_x:{password}@redis/0"):
        shown = shown_address(url)
        assert shown == UNSHOWN or shown in ("postgresql://postgres/fraud", "redis://redis/0"), shown


@pytest.mark.parametrize("url", ["postgresqlx://u:s3cret@h/d", "postgresql://u:s3cret@h/d?a=b", "password='s3cret"])
def test_no_failure_quotes_an_address(url: str) -> None:
    assert database_options(url) is None
    for attempt in (lambda: opened(url), lambda: connect(url, "test")):
        with pytest.raises((DatabaseRefused, DatabaseUnavailable)) as failure:
            attempt()
        assert "s3cret" not in f"{failure.value} {failure.value.__cause__}"
