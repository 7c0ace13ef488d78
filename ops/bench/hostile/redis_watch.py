"""Redis under an attack: how long its scripts take, by its own SLOWLOG, and how much it holds."""

from __future__ import annotations

import re
import threading
from collections import Counter
from typing import Final

import redis

from ops.bench.rig.threads import Thread

SLOWER_THAN_US: Final = 500
"""The SLOWLOG keeps calls from here on. The others are only counted, so a percentile below this is given as this."""
ENTRIES_MAX: Final = 4_096
SAMPLE_S: Final = 0.5
SCRIPTS: Final = (b"EVALSHA", b"EVAL", b"FCALL")
PAGE: Final = 1_000
_COUNTED: Final = tuple(f"cmdstat_{name.decode().lower()}" for name in SCRIPTS)
_KINDS: Final = (
    (re.compile(rb"\}c:"), "ids"),
    (re.compile(rb"\{p\d+\}[apr]:"), "accounts"),
    (re.compile(rb"\{[ps]\d+\}progress"), "answers"),
)
"""The keys that stay by design, by their names: buckets of ids, whose old ones go as new ones come; what an account
ever paid; and the answers about payments that aren't known to be committed."""


class RedisWatch:
    """Takes the SLOWLOG in before it is full, from a thread of its own, and looks at the memory."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url)
        self._slow_us: list[int] = []
        self._lock = threading.Lock()
        self._thread = Thread("redis watch", self._run)
        self.memory_peak = 0

    def start(self) -> None:
        self._redis.config_set("slowlog-log-slower-than", SLOWER_THAN_US)
        self._redis.config_set("slowlog-max-len", ENTRIES_MAX)
        self._redis.config_resetstat()
        self._redis.slowlog_reset()
        self._thread.start()

    def stop(self) -> None:
        self._thread.stopping.set()
        self._thread.stop()
        self._take_in()

    def close(self) -> None:
        self._redis.close()

    def scripts(self) -> dict[str, float]:
        """Return how many scripts ran, their 99.9th percentile and the longest of them in ms."""
        statistics = self._redis.info("commandstats")
        calls = sum(int(statistics[name]["calls"]) for name in _COUNTED if name in statistics)
        longest = sorted(self._slow_us, reverse=True)
        place = calls // 1_000  # this many are slower than the percentile
        at_999 = longest[place] if place < len(longest) else SLOWER_THAN_US
        return {
            "calls": calls,
            "p99.9_ms": round(at_999 / 1_000, 2),
            "longest_ms": round((longest or [SLOWER_THAN_US])[0] / 1_000, 2),
        }

    def memory_bytes(self) -> int:
        return int(self._redis.info("memory")["used_memory"])

    def expire(self) -> dict[str, int]:
        """Let every key that expires do so now. Return the bytes of the keys that never would, by kind."""
        kept: Counter[str] = Counter({"ids": 0, "accounts": 0, "answers": 0, "other": 0})
        keys: list[bytes] = []
        for key in self._redis.scan_iter(count=PAGE):
            keys.append(key)
            if len(keys) == PAGE:
                kept += self._expire(keys)
                keys = []
        kept += self._expire(keys)
        return dict(kept)

    def _expire(self, keys: list[bytes]) -> Counter[str]:
        asked = self._redis.pipeline(transaction=False)
        for key in keys:
            asked.pttl(key)
            asked.memory_usage(key)
        answers = iter(asked.execute())
        ended, kept = self._redis.pipeline(transaction=False), Counter[str]()
        for key, left_ms, held_bytes in zip(keys, answers, answers, strict=False):
            if left_ms >= 0:
                ended.delete(key)  # as its expiry would
            else:
                kept[_kind(key)] += held_bytes or 0
        ended.execute()
        return kept

    def _run(self) -> None:
        while not self._thread.stopping.wait(SAMPLE_S):
            self._take_in()

    def _take_in(self) -> None:
        with self._lock:
            both = self._redis.pipeline()  # in one transaction, so that no entry is lost in between
            both.slowlog_get(ENTRIES_MAX)
            both.slowlog_reset()
            entries, _ = both.execute()
            self._slow_us += [each["duration"] for each in entries if each["command"].upper().startswith(SCRIPTS)]
            self.memory_peak = max(self.memory_peak, self.memory_bytes())


def _kind(key: bytes) -> str:
    return next((kind for named, kind in _KINDS if named.search(key)), "other")
