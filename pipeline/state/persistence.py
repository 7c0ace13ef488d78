"""How far back a server of the state store can be brought after a loss, from what it says about its own saving.

Redis' own RDB or AOF is the backup: the positions stand in it, so a restored server reads the rest of the log. What
INFO says is the latest state on the server's disk; a copy elsewhere (`fraud state backup`) is told by its own time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

START_SLACK_S = 2
"""A server that never saved names its own start as its last save."""


def saved_at_ms(facts: Mapping[str, object], now_ms: int) -> int | None:
    """Return the time of what the server's disk holds; None where it holds nothing, or none that can be trusted.

    facts: what INFO says. An append-only file that was written well holds all up to a second ago.
    """
    if _number(facts, "aof_enabled") and facts.get("aof_last_write_status", "ok") == "ok":
        return now_ms
    saved_s = _number(facts, "rdb_last_save_time")
    started_s = now_ms // 1000 - _number(facts, "uptime_in_seconds")
    if saved_s <= started_s + START_SLACK_S and not _number(facts, "rdb_saves"):
        return None
    return saved_s * 1000


def recoverable_at_ms(masters: Sequence[Mapping[str, object]], backup_at_ms: int | None, now_ms: int) -> int | None:
    """Return the time that the whole state can be brought back to; None where there is no copy of it.

    masters: what INFO says of each. backup_at_ms: when `fraud state backup` last ended well.
    """
    saved = [saved_at_ms(facts, now_ms) for facts in masters]
    on_disk = None if None in saved else min(each for each in saved if each is not None)
    return max((each for each in (on_disk, backup_at_ms) if each is not None), default=None)


def persistence_in_words(facts: Mapping[str, object]) -> str:
    parts = []
    if _number(facts, "aof_enabled"):
        parts.append(f"AOF ({facts.get('aof_last_write_status', 'ok')})")
    if _number(facts, "rdb_last_save_time") and (_number(facts, "rdb_saves") or not _number(facts, "aof_enabled")):
        parts.append(f"RDB ({facts.get('rdb_last_bgsave_status', 'ok')})")
    return " and ".join(parts) or "nothing on disk"


def _number(facts: Mapping[str, object], name: str) -> int:
    text = str(facts.get(name, 0))
    return int(text) if text.isdigit() else 0
