"""The faults of the loss bench: each breaks one thing on a rig in full flow and waits until decisions flow again.

Recovery is measured from the loss of a worker, and from the return of a broker or a Redis that was away.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Final, NamedTuple

import redis

from ops.bench.loss.crashing_worker import STEPS
from ops.bench.loss.log_faults import (
    aborted_on_every_input,
    offsets_at_the_beginning,
    offsets_at_the_end,
    offsets_gone,
)
from ops.bench.loss.rig import RECOVERY_S, START_S, Rig, now_ms
from ops.bench.rig.feeder import Recovery
from ops.bench.rig.waiting import wait_until
from pipeline.decide.app import RELOAD_INTERVAL_S
from pipeline.io.settings import Settings

SLOT: Final = 0
OTHER_SLOT: Final = 1
RANDOM_KILLS: Final = 20
RANDOM_DELAY_S: Final = (0.2, 2.0)
TAKEOVERS: Final = 3
CRASH_S: Final = 120.0
CRASH_POLL_S: Final = 0.01
ZOMBIE_S: Final = 15.0
"""Time within which a resumed worker must notice that its slot is taken."""
OUTAGE_S: Final = 3.0
LONG_OUTAGE_S: Final = 15.0
"""Outage of the broker that is longer than a worker's session and its transaction may last."""
COLD_STARTS: Final = 3


class Fault(NamedTuple):
    name: str
    strike: Callable[[Rig], Recovery | None]  # returns None where decisions never stopped
    group: str


def faults(seed: int, *, is_quick: bool) -> Iterator[Fault]:
    """Yield the faults in the order in which they strike. A second worker runs from the takeovers on."""
    random = Random(seed)  # noqa: S311 - a schedule, seeded on purpose
    for number in range(3 if is_quick else RANDOM_KILLS):
        delay_s = random.uniform(*RANDOM_DELAY_S)
        yield Fault(f"kill -9 no. {number + 1}, after {delay_s:.2f} s", _killer(delay_s), "restart")
    for number in range(1 if is_quick else COLD_STARTS):
        yield Fault(f"kill -9 of the worker and its keeper no. {number + 1}", _cold_start, "cold start")
    steps = list(STEPS)
    for step in steps[:: 5 if is_quick else 1]:
        yield Fault(f"kill -9 {step}", _crasher(step), "step")
    for number in range(1 if is_quick else TAKEOVERS):
        yield Fault(f"kill -9 and takeover no. {number + 1}", _takeover, "takeover")
    yield Fault("SIGSTOP past the session timeout, takeover, SIGCONT", _zombie, "takeover")
    yield Fault("broker stopped and started", _broker_restart, "broker")
    yield Fault("broker kill -9 and started", _broker_kill, "broker")
    yield Fault(f"broker away for {LONG_OUTAGE_S:.0f} s", broker_away, "broker")
    yield Fault("Redis FLUSHALL", _flushall, "redis")
    yield Fault("Redis kill -9 and started with its file", _redis_kill, "redis")
    yield Fault("Redis kill -9 and started empty", _redis_loss, "redis")
    yield Fault("Redis stopped answering for 3 s", _redis_pause, "redis")
    yield Fault("policy file half written, then whole", _policy_written, "policy")
    yield Fault("offsets deleted", offsets_gone, "offsets lost")
    yield Fault("offsets moved to the beginning", offsets_at_the_beginning, "offsets lost")
    yield Fault("offsets moved to the end", offsets_at_the_end, "offsets lost")
    yield Fault("aborted records on every input topic", aborted_on_every_input, "aborted")


def _killer(delay_s: float) -> Callable[[Rig], Recovery]:
    def strike(rig: Rig) -> Recovery:
        time.sleep(delay_s)
        rig.kill_worker(SLOT)
        return rig.recovery(now_ms())

    return strike


def _cold_start(rig: Rig) -> Recovery:
    """Measure a cold start, as on a new machine or in a new container, Python's imports included."""
    worker = rig.workers[SLOT]
    worker.kill()
    fault_ms = now_ms()
    worker.start(deadline_s=START_S)
    return rig.recovery(fault_ms)


def _crasher(step: str) -> Callable[[Rig], Recovery]:
    """Make a fault that replaces the worker of slot 0 by one that kills itself at `step`.

    A keeper replaces that one when it has died. Then the first worker comes back.
    """

    def strike(rig: Rig) -> Recovery:
        worker = rig.workers.pop(SLOT)
        worker.stop()
        doomed = rig.crashing_worker(step)
        followed, ended = rig.followed(doomed), rig.ended_by_themselves().total()
        doomed.start()
        try:
            # The keeper's log tells it; a child of the keeper may be a process that an import starts and ends.
            wait_until(lambda: rig.followed(doomed) > followed, CRASH_S, f"the crash {step}", every_s=CRASH_POLL_S)
            recovery = rig.recovery(now_ms())
            # On a busy machine the sound one may be ended for standing still, as any may.
            by_themselves = rig.ended_by_themselves().total() - ended
            assert rig.followed(doomed) <= followed + 1 + by_themselves, f"a second end after the crash {step}"
        finally:
            doomed.stop()
        rig.workers[SLOT] = worker
        worker.start(deadline_s=START_S)
        return recovery

    return strike


def _takeover(rig: Rig) -> Recovery:
    """Kill one of two workers, and don't start it again until the other decides for every partition."""
    ensure_second(rig)
    worker = rig.workers.pop(SLOT)
    worker.kill()
    recovery = rig.recovery(now_ms())
    rig.workers[SLOT] = worker
    worker.start(deadline_s=START_S)
    return recovery


def _zombie(rig: Rig) -> Recovery:
    """Stop a worker, let another replace it, and resume it; the decisions that it still held must not come out."""
    ensure_second(rig)
    zombie = rig.workers.pop(SLOT)
    zombie.pause()
    recovery = rig.recovery(now_ms())
    zombie.resume()
    # It may be fenced and end, or drop what it held and join again; either way decisions go on everywhere.
    rig.workers[SLOT] = zombie
    resumed_ms = now_ms()
    time.sleep(ZOMBIE_S)
    rig.recovery(resumed_ms)
    return recovery


def ensure_second(rig: Rig) -> None:
    """Make sure that both workers decide, which they do once each has partitions."""
    if OTHER_SLOT not in rig.workers:
        rig.start_worker(OTHER_SLOT)
    wait_until(
        lambda: min(map(rig.partitions_held, (SLOT, OTHER_SLOT))) > 0,
        RECOVERY_S,
        "sharing the partitions",
        meanwhile=rig.supervise,
    )
    rig.recovery(now_ms())


def _broker_restart(rig: Rig) -> Recovery:
    rig.stop_broker()
    return rig.recovery(rig.start_broker())


def _broker_kill(rig: Rig) -> Recovery:
    rig.stack.broker.kill()
    return rig.recovery(rig.start_broker())


def broker_away(rig: Rig) -> Recovery:
    """Stop the broker for longer than a session and a transaction may last; raise TimeoutError without recovery."""
    rig.stop_broker()
    time.sleep(LONG_OUTAGE_S)
    return rig.recovery(rig.start_broker())


def _flushall(rig: Rig) -> Recovery:
    with redis.Redis.from_url(rig.stack.redis_url) as client:
        client.flushall()
    return rig.recovery(now_ms())


def _redis_kill(rig: Rig) -> Recovery:
    rig.stack.redis.kill()
    rig.stack.redis.start()
    return rig.recovery(now_ms())


def _redis_loss(rig: Rig) -> Recovery:
    rig.stack.redis.kill()
    for saved in (rig.directory / "stack" / "redis").glob("appendonly*"):  # one file up to Redis 6.2, then a folder
        shutil.rmtree(saved) if saved.is_dir() else saved.unlink()
    rig.stack.redis.start()
    return rig.recovery(now_ms())


def _redis_pause(rig: Rig) -> Recovery:
    rig.stack.redis.pause()
    time.sleep(OUTAGE_S)
    rig.stack.redis.resume()
    return rig.recovery(now_ms())


def _policy_written(rig: Rig) -> None:
    """Write half a policy, which must change nothing, then the whole of it, which must come into force."""
    content = Settings().policy_path.read_bytes() + b"# written again\n"
    rig.policy_path.write_bytes(content[: len(content) // 2])
    time.sleep(2 * RELOAD_INTERVAL_S)
    rig.recovery(now_ms())
    before = rig.settle()
    assert before.is_whole, "half a policy came into force"
    rig.checker.allow_policy(content)
    rig.policy_path.write_bytes(content)
    deadline = time.monotonic() + RECOVERY_S
    while rig.settle().policies < 2:
        assert time.monotonic() < deadline, "the whole policy did not come into force"
        time.sleep(RELOAD_INTERVAL_S)
