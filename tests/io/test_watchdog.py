"""A part that stands still ends the process; one that goes on, or a process stopped as a whole, doesn't."""

import json
import os
import subprocess
import sys
import textwrap

from pipeline.io.watchdog import TICK_S, Pulse, TurnAges

END_S = 120.0


def pulse(ticks):
    return Pulse("a turn", ticks * TICK_S)


def test_a_turn_past_its_limit_is_found():
    turn = pulse(2)
    turn.begin()
    ages = TurnAges([turn])
    assert [None, None, turn] == [ages.tick() for _ in range(3)]


def test_a_turn_that_ends_and_begins_again_is_another():
    turn = pulse(2)
    ages = TurnAges([turn])
    for _ in range(10):
        turn.begin()
        assert ages.tick() is None
        assert ages.tick() is None
        turn.end()


def test_a_turn_begun_again_without_an_end_is_another():
    turn = pulse(1)
    ages = TurnAges([turn])
    for _ in range(10):
        turn.begin()
        assert ages.tick() is None


def test_what_is_not_under_way_stands_as_long_as_it_likes():
    turn = pulse(1)
    ages = TurnAges([turn])
    assert [None] * 10 == [ages.tick() for _ in range(10)]
    turn.begin()
    turn.end()
    assert [None] * 10 == [ages.tick() for _ in range(10)]


def test_the_first_of_several_is_named():
    going, standing_still = pulse(1), pulse(1)
    standing_still.begin()
    ages = TurnAges([going, standing_still])
    assert [None, standing_still] == [ages.tick() for _ in range(2)]


def ended(body):
    """Run a process in which a watch runs while the event loop does `body`."""
    program = f"""
        import asyncio, threading, time
        from pipeline.io import logs, watchdog
        from pipeline.io.watchdog import Pulse, Watch

        async def main():
            {body}

        logs.configure("INFO")
        asyncio.run(main())
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=END_S, check=False
    )


def test_a_pulse_that_stands_still_ends_the_process_and_says_where():
    process = ended(
        "stuck = Pulse('a commit', 1.0); Watch([stuck]).start(); stuck.begin(); await asyncio.Event().wait()"
    )
    assert os.EX_TEMPFAIL == process.returncode
    line = json.loads(process.stderr)
    assert "a commit took more than 1 s" == line["why"]
    assert any("run_forever" in frame for frame in line["threads"]["MainThread"])


def test_an_event_loop_that_stands_still_ends_the_process():
    process = ended("watchdog.LOOP_LIMIT_S = 1.0; Watch([]).start(); await asyncio.sleep(0.1); time.sleep(60)")
    assert os.EX_TEMPFAIL == process.returncode
    assert "a turn of the event loop took more than 1 s" == json.loads(process.stderr)["why"]


def test_a_watch_that_can_not_tick_ends_the_process_all_the_same():
    """A thread that keeps the interpreter's lock, as a callback from C may."""
    process = ended(
        "watchdog.LAST_RESORT_S = 1.5; Watch([]).start(); await asyncio.sleep(1.1); "
        "import ctypes; ctypes.PyDLL(None).sleep(60)"
    )
    assert 1 == process.returncode
    assert "Timeout" in process.stderr


def test_a_process_that_goes_on_is_left_alone():
    process = ended("watch = Watch([Pulse('a commit', 0.0)]); watch.start(); await asyncio.sleep(1.5); watch.stop()")
    assert (0, "") == (process.returncode, process.stderr)
