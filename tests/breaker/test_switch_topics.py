"""People's switches on their topic, on the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest

from ops.bench.rig.waiting import wait_until
from ops.stack.topics import create_topics
from pipeline.breaker import Event, Switches, switches, taken_over
from pipeline.breaker.switch_topics import SWITCHES_STALE_S, THROWS_MAX, SwitchFollower, SwitchTopic
from pipeline.breaker.switches import Fault, FaultOf, Refused, key_of
from pipeline.domain.context import BreakerSwitch, SwitchPosition
from pipeline.domain.decision import BreakerState
from pipeline.domain.log import Outgoing
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.client import BrokerAway, BrokerFailed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from tests.breaker.given import DEFAULTS, record
from tests.breaker.test_losses import switch
from tests.servers import unused_prefix

FORCED_OPEN, RELEASED = SwitchPosition
WIRE = WireFormat()
WAIT_S = 120.0
START_MS = now_ms()  # the broker's clock, too
Append = Callable[[Sequence[Outgoing]], None]


def unsigned(thrown: BreakerSwitch) -> BreakerSwitch:
    return thrown


class Log:
    """The topic of one test, and whoever reads or writes it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.append: Append = Appender.of(settings, "test").append
        self._topics: list[SwitchTopic] = []
        self.fault_of: FaultOf = lambda *_: None

    def topic(self) -> SwitchTopic:
        name = self.settings.topic("breaker_switches.v1")
        self._topics.append(SwitchTopic(name, WIRE, lambda: LogReader.of(self.settings), self.fault_of))
        return self._topics[-1]

    def close(self) -> None:
        for topic in self._topics:
            topic.close()


@pytest.fixture
def log(stack) -> Iterator[Log]:
    settings = Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix=unused_prefix())
    create_topics(settings.bootstrap_servers, prefix=settings.topic_prefix)
    with closing(Log(settings)) as found:
        yield found


def test_switch_is_read_by_whoever_starts_later(log):
    assert log.topic().look() == Switches()
    person = log.topic()
    forced = person.throw(switch("model:m1", FORCED_OPEN), log.append, START_MS, 0, unsigned)
    assert (forced.sequence, log.topic().look()) == (START_MS, Switches({"model:m1": forced}))
    released = person.throw(switch("model:m1", RELEASED), log.append, START_MS, 0, unsigned)
    other = person.throw(switch("all", FORCED_OPEN), log.append, START_MS - 5, 0, unsigned)
    assert (released.sequence, other.sequence) == (START_MS + 1, START_MS + 2)
    assert log.topic().look() == person.look() == Switches({"model:m1": released, "all": other})


def test_reader_that_looks_again_finds_what_is_new(log):
    reader = log.topic()
    assert reader.look() == reader.look() == Switches()
    forced = log.topic().throw(switch("all", FORCED_OPEN), log.append, START_MS, 0, unsigned)
    assert reader.look() == reader.look() == Switches({"all": forced})


def test_switch_of_a_topic_that_was_made_anew_is_above_what_the_store_knows(log):
    thrown = log.topic().throw(switch("all", RELEASED), log.append, START_MS, START_MS + 70, unsigned)
    assert thrown.sequence == START_MS + 71


def test_flood_of_scopes_is_bounded_and_forces_all_traffic_open(log, monkeypatch):
    monkeypatch.setattr(switches, "SCOPES_MAX", 20)
    person = log.topic()
    person.throw(switch("model:m1", FORCED_OPEN), log.append, START_MS, 0, unsigned)
    made_up = [switch(f"segment:a={n}", FORCED_OPEN, START_MS + n) for n in range(1, 101)]
    log.append([Outgoing(log.settings.topic("breaker_switches.v1"), key_of(one), WIRE.encode(one)) for one in made_up])
    found = person.look()
    assert 21 == len(found.latest)
    assert found.is_forced("all")
    assert found.is_forced("model:m1")
    thrown = person.throw(switch("model:m2", FORCED_OPEN), log.append, START_MS, 0, unsigned)
    assert (thrown.scope, person.look()) == ("model:m2", found), "whoever throws one more is told no lie"
    released = person.throw(switch("all", RELEASED), log.append, now_ms() + 1, 0, unsigned)
    person.throw(switch("model:m1", RELEASED), log.append, now_ms() + 1, 0, unsigned)
    assert released.sequence < now_ms() + 60_000, "a release is of now, or no worker would heed it"
    for reader in (person, log.topic()):
        assert not reader.look().is_forced("all")
        assert not reader.look().is_forced("model:m1")


def test_switch_that_another_overtakes_is_thrown_again(log):
    rivals = [log.topic()]

    def append(records: Sequence[Outgoing]) -> None:
        if rivals:
            rivals.pop().throw(switch("all", RELEASED), log.append, START_MS + 900, 0, unsigned)
        log.append(records)

    thrown = log.topic().throw(switch("all", FORCED_OPEN), append, START_MS, 0, unsigned)
    assert thrown.sequence == START_MS + 901
    assert log.topic().look() == Switches({"all": thrown})


DRILL = switch("all", FORCED_OPEN)._replace(drill="0123abcd", ends_at_ms=START_MS + 600_000, consent="two people")


def overtaken(log: Log, wanted: BreakerSwitch) -> tuple[BreakerSwitch, BreakerSwitch]:
    """A switch that is thrown while somebody else, whose clock is ahead, throws that of another scope; and theirs."""
    rivals, theirs = [log.topic()], []

    def append(records: Sequence[Outgoing]) -> None:
        if rivals:
            rival = rivals.pop()
            theirs.append(rival.throw(switch("channel:CARD", RELEASED), log.append, START_MS + 900, 0, unsigned))
        log.append(records)

    return log.topic().throw(wanted, append, START_MS, 0, unsigned), theirs[0]


@pytest.mark.parametrize(
    ("wanted", "event"), [(switch("model:m1", RELEASED), Event.RELEASE), (DRILL, Event.DRILL)], ids=["release", "drill"]
)
def test_switch_that_another_scope_overtakes_is_taken_over_by_a_store_that_was_quicker(log, wanted, event):
    thrown, theirs = overtaken(log, wanted)
    assert thrown.sequence > theirs.sequence, "a store may be past the other's before this one stood there"
    stored = {"all": record(scope="all"), "model:m1": record(BreakerState.FORCED_OPEN, "model:m1")}
    made = taken_over(stored, theirs.sequence, log.topic().look(), START_MS + 1_000, DEFAULTS, 9)
    assert [(each.transition.event, each.transition.after.scope) for each in made] == [(event, wanted.scope)]


def test_drill_that_is_always_overtaken_is_never_begun(log):
    rival = log.topic()

    def append(records: Sequence[Outgoing]) -> None:
        rival.throw(switch("channel:CARD", RELEASED), log.append, START_MS + 900, 0, unsigned)
        log.append(records)

    with pytest.raises(BrokerAway, match="all"):
        log.topic().throw(DRILL, append, START_MS, 0, unsigned)
    assert log.topic().look().drills == {}


@pytest.mark.parametrize("forged", [switch("segment:a=b", FORCED_OPEN), DRILL._replace(scope="segment:a=b")])
@pytest.mark.parametrize("fault", [None, Fault("nobody consented")])
def test_no_record_takes_away_the_sequences_that_are_to_come(log, forged, fault):
    log.fault_of = lambda thrown, _: fault if thrown.drill else None
    forged = forged._replace(sequence=2**63 - 1)
    log.append([Outgoing(log.settings.topic("breaker_switches.v1"), key_of(forged), WIRE.encode(forged))])
    assert log.topic().look().is_forced("segment:a=b"), "what can't be read is strict"
    released = log.topic().throw(switch("all", RELEASED), log.append, now_ms(), 0, unsigned)
    forced = log.topic().throw(switch("model:m1", FORCED_OPEN), log.append, now_ms(), 0, unsigned)
    found = log.topic().look()
    assert (found.latest["all"], found.latest["model:m1"]) == (released, forced)
    assert found.reached <= now_ms() + 1_000


def test_drill_that_nobody_consented_to_has_a_sequence_of_its_time(log):
    log.fault_of = lambda thrown, _: Fault("nobody consented") if thrown.drill else None
    with pytest.raises(Refused, match="not proved"):
        log.topic().throw(DRILL, log.append, START_MS + 250_000, 0, unsigned)
    assert log.topic().look().reached <= now_ms()


def test_switch_that_is_always_overtaken_is_a_failure(log):
    rival, attempts = log.topic(), []

    def append(records: Sequence[Outgoing]) -> None:
        attempts.append(rival.throw(switch("all", RELEASED), log.append, START_MS, 0, unsigned))
        log.append(records)

    with pytest.raises(BrokerAway, match="all"):
        log.topic().throw(switch("all", FORCED_OPEN), append, START_MS, 0, unsigned)
    assert len(attempts) == THROWS_MAX


def test_record_that_can_not_be_read_forces_its_scope_open_until_a_switch_is_thrown(log):
    name = log.settings.topic("breaker_switches.v1")
    log.append([Outgoing(name, b"model:m1", b"junk")])
    reader = log.topic()
    assert reader.look().is_forced("model:m1")
    released = log.topic().throw(switch("model:m1", RELEASED), log.append, START_MS, 0, unsigned)
    assert reader.look() == log.topic().look() == Switches({"model:m1": released})


def test_release_that_can_not_be_proved_yet_is_asked_about_at_each_look(log):
    found: list[Fault | None] = [Fault("the people's file is old", is_awaited=True)]
    log.fault_of = lambda *_: found[0]
    reader, person = log.topic(), log.topic()
    released = person.throw(switch("model:m1", RELEASED), log.append, START_MS, 0, unsigned)
    for _ in range(2):
        waiting = reader.look()
        assert (waiting.is_forced("model:m1"), waiting.latest) == (True, {})
    forced = person.throw(switch("all", FORCED_OPEN), log.append, START_MS, 0, unsigned)
    assert forced.sequence > released.sequence, "what is awaited has its place in the order"
    assert reader.look().latest == {"all": forced}, "the kill switch waits for nobody"
    found[0] = None
    assert reader.look() == log.topic().look() == Switches({"model:m1": released, "all": forced})
    found[0] = Fault("the people's file is old", is_awaited=True)
    person.throw(switch("all", RELEASED), log.append, START_MS, 0, unsigned)
    assert reader.look().is_forced("all")
    found[0] = Fault("its author did not hold the role")
    refuted = reader.look()
    assert (refuted.is_forced("all"), refuted.awaited) == (True, {})
    assert "did not hold the role" in refuted.latest["all"].reason


class Unsteady:
    """A topic that can be read now and then."""

    def __init__(self) -> None:
        self.found: Switches | BrokerFailed = BrokerAway("no broker")

    def look(self) -> Switches:
        if isinstance(self.found, BrokerFailed):
            raise self.found
        return self.found


def test_i4_switches_are_unknown_until_they_are_read_and_when_they_are_stale():
    topic, now_s = Unsteady(), [100.0]
    follower = SwitchFollower(topic, lambda: now_s[0])
    forced = Switches({"all": BreakerSwitch("all", FORCED_OPEN, 1, START_MS, "a.person", "drill", False)})

    def look() -> Switches | None:
        asyncio.run(follower.look())
        return follower.known

    assert (follower.known, look()) == (None, None)
    assert follower.summary == "unknown: no broker"
    topic.found = forced
    assert (look(), follower.summary) == (forced, "followed")
    topic.found = BrokerFailed("it was made anew")
    now_s[0] += SWITCHES_STALE_S
    assert look() == forced
    now_s[0] += 0.1
    assert (look(), follower.summary) == (None, "unknown: it was made anew")
    topic.found = Switches()
    assert look() == Switches()


def test_worker_that_follows_has_a_switch_without_being_asked(log):
    async def steps() -> Switches | None:
        follower = SwitchFollower(log.topic())
        await follower.look()
        follower.start()
        await asyncio.to_thread(log.topic().throw, switch("all", FORCED_OPEN), log.append, START_MS, 0, unsigned)

        def is_known() -> bool:
            return (follower.known or Switches()).is_forced("all")

        await asyncio.to_thread(wait_until, is_known, WAIT_S, "following a switch", every_s=0.05)
        await follower.stop()
        return follower.known

    assert asyncio.run(steps()) == log.topic().look()
