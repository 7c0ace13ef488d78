"""Which errors of Redis are the server's, which a request can have caused, in the words of each server."""

from __future__ import annotations

from contextlib import closing

import pytest
import redis
from redis.exceptions import ResponseError

from pipeline.io.redis.conditions import condition_of, is_of_the_request

OF_THE_REQUEST = {
    "a bug of the script": "local t\nreturn t.x",
    "a value that can't be read": "return struct.unpack('>I5', '')",
    "too many values": "local t = {} for i = 1, 9000 do t[i] = 'x' end return redis.call('MGET', unpack(t))",
    "an error of the script's own": "error('no such window')",
    "a key of another type": "return redis.call('HGET', 'text', 'field')",
    "a text that is no number": "return redis.call('INCR', 'text')",
    "a field that is no number": "return redis.call('HINCRBY', 'hash', 'field', 1)",
    "a place out of range": "return redis.call('SETRANGE', 'text', -1, 'x')",
    "a text that grows too long": "return redis.call('SETRANGE', 'text', 999999999, 'x')",
    "arguments that are missing": "return redis.call('GET')",
    "an argument of another type": "return redis.call('GET', {})",
}
OF_THE_SERVER = {
    "a command that the server lacks": "return redis.call('NOSUCH', 'text')",
    "a command that no script may call": "return redis.call('SUBSCRIBE', 'text')",
    "a script that can't be compiled": "return )",
}


@pytest.mark.parametrize("script", OF_THE_REQUEST.values(), ids=OF_THE_REQUEST)
def test_a_script_s_own_error_is_the_request_s(redis_at: str, script: str) -> None:
    assert is_of_the_request(_error(redis_at, script))


@pytest.mark.parametrize("script", OF_THE_SERVER.values(), ids=OF_THE_SERVER)
def test_what_the_server_does_not_let_a_script_do_is_the_server_s(redis_at: str, script: str) -> None:
    assert not is_of_the_request(_error(redis_at, script))


@pytest.mark.parametrize("rights", [["-hsetnx"], ["-@hash"], ["resetkeys", "~other*"], ["-eval"]])
def test_what_a_user_may_not_do_is_the_server_s(redis_at: str, rights: list[str]) -> None:
    with redis.Redis.from_url(redis_at) as client:
        client.execute_command("ACL", "SETUSER", "limited", "on", "nopass", "~*", "+@all", *rights)
        limited = redis.Redis.from_url(redis_at, username="limited", password="any")
        with closing(limited), pytest.raises(ResponseError) as caught:
            limited.eval("return redis.call('HSETNX', 'hash', 'field', 'value')", 0)
        client.execute_command("ACL", "DELUSER", "limited")
    assert not is_of_the_request(caught.value)


@pytest.mark.parametrize(
    "words", ["something that no release has said yet", "ERR user_script is unhappy", "EXECABORT x"]
)
def test_words_that_nobody_knows_are_the_server_s(words: str) -> None:
    error = ResponseError(words)
    assert (condition_of(error), is_of_the_request(error)) == (None, False)


def _error(url: str, script: str) -> ResponseError:
    with redis.Redis.from_url(url) as client:
        client.set("text", "words")
        client.hset("hash", "field", "words")
        with pytest.raises(ResponseError) as caught:
            client.eval(script, 0)
    return caught.value
