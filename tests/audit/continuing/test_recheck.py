"""The check in the background: it finds what the check at once did not read, and a restart refuses too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from ops.bench.rig.waiting import wait_until
from ops.stack.embedded import EmbeddedStack
from pipeline.audit.continuing.bounds import Bounds, NotContinued
from pipeline.audit.continuing.check_service import Continuation
from pipeline.audit.continuing.recheck_service import Pace, Recheck, Stopped
from pipeline.audit.continuing.refusal_files import mark, require_unmarked, unmark
from pipeline.io.postgres import connect
from tests.audit.continuing.outside import Continuing
from tests.audit.logs import Bench, records
from tests.records import NOON_MS

FLIPPED = "set_byte(record, 9, get_byte(record, 9) # 1)"


@pytest.fixture
def log(bench: Bench, stack: EmbeddedStack) -> Iterator[Continuing]:
    opened = Continuing(bench, stack.bootstrap_servers)
    bench.open()
    bench.store(records(40))
    opened.anchor(NOON_MS)
    yield opened
    opened.close()


def test_an_old_row_that_was_forged_is_found_and_stays_found(log: Continuing) -> None:
    bench, trees = log.bench, log.bench.log.trees
    bench.as_superuser(f"UPDATE audit.ai_decision_log SET record = {FLIPPED} WHERE topic_offset = 0")
    log.check(Bounds(100, 100, 4, 100, 100))  # reads the last rows only

    def make(rest: Callable[[], None]) -> Continuation:
        return log.continuation(rest)

    recheck = Recheck(lambda: connect(bench.url, "recheck"), bench.outside, [(make, lambda: trees)], wait_s=0)
    recheck.start()
    wait_until(lambda: recheck.refused is not None, 120, "finding it", every_s=0.01)
    recheck.close()
    assert "row at offset 0 of partition 0" in str(recheck.refused)
    with pytest.raises(NotContinued, match=r"row at offset 0 of partition 0.*found at"):
        require_unmarked(bench.outside)
    assert unmark(bench.outside)
    require_unmarked(bench.outside)


def test_a_sound_log_is_left_alone(log: Continuing) -> None:
    rested = []
    recheck = Recheck(
        lambda: connect(log.bench.url, "recheck"),
        log.bench.outside,
        [(lambda rest: log.continuation(lambda: (rested.append(1), rest())[1]), lambda: log.bench.log.trees)],
        wait_s=0,
    )
    recheck.start()
    wait_until(lambda: len(rested) >= 2, 120, "checking both partitions", every_s=0.01)
    recheck.close()
    assert recheck.refused is None
    require_unmarked(log.bench.outside)


def test_what_was_found_first_stays_and_a_mark_that_can_t_be_read_refuses(bench: Bench) -> None:
    mark(bench.outside, "the first", NOON_MS)
    mark(bench.outside, "the second", NOON_MS)
    with pytest.raises(NotContinued, match="the first"):
        require_unmarked(bench.outside)
    (bench.outside / "refused.json").write_text("")
    with pytest.raises(NotContinued, match="can't be read"):
        require_unmarked(bench.outside)


def test_a_check_that_is_told_to_stop_stops() -> None:
    stopping = threading.Event()
    pace = Pace(stopping)
    pace.rest()
    stopping.set()
    with pytest.raises(Stopped):
        pace.rest()
