"""The topic breaker_switches.v1, where people's switches of the breaker stand (ADR 0017): reading, following, throwing.

The topic is the truth. It is compacted, so the latest switch of each scope stays for ever. Every worker reads all of it
at its start and looks at its end every SWITCH_INTERVAL_S. A worker that hasn't seen its end for SWITCHES_STALE_S knows
no switches, and then the breaker's state is UNKNOWN. At each look it asks again about releases that it could not prove.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from pipeline.breaker.proofs_files import SwitchProof
from pipeline.breaker.states import next_version
from pipeline.breaker.switches import Awaited, FaultOf, Refused, Switches, key_of, require_sound, switch_of
from pipeline.domain.context import BreakerSwitch, SwitchPosition
from pipeline.domain.log import Outgoing, Record
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import BrokerAway, BrokerFailed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.topic_settings import SWITCHES_TOPIC
from pipeline.io.settings import Settings

SWITCH_INTERVAL_S: Final = 0.5
"""From one look at the topic to the next: with the reading, a worker has a switch within a second."""
SWITCHES_STALE_S: Final = 30.0
"""Longest time since a look that succeeded. A broker that restarts, and brings nothing to decide meanwhile, is back in
less; a worker that reads payments but can't read this topic must not go on with the model for longer."""
RECORDS_A_LOOK: Final = 10_000
"""Records taken in by one reading of the topic; it goes on until it has met the end."""
THROWS_MAX: Final = 5
"""Most attempts at throwing a switch that somebody else's overtakes: two people can hardly do it twice."""

log = structlog.get_logger("breaker")


class SwitchTopic:
    """Reads the topic, for one thread at a time. Every method raises BrokerFailed, or one of its kinds."""

    def __init__(self, topic: str, wire: WireFormat, open_reader: Callable[[], LogReader], fault_of: FaultOf) -> None:
        """topic: breaker_switches.v1 with its prefix. fault_of: as `switch_of` asks it."""
        self._fault_of = fault_of
        self._topic, self._wire, self._open_reader = topic, wire, open_reader
        self._reader: LogReader | None = None
        self._ends: dict[int, int] = {}
        self._switches = Switches()
        self._awaited: dict[str, Record] = {}  # by scope; the latest of each

    @classmethod
    def of(cls, settings: Settings, wire: WireFormat, open_reader: Callable[[], LogReader]) -> SwitchTopic:
        """The topic of a deployment, whose releases are proved by its people's file."""
        proof = SwitchProof.of(settings)
        return cls(settings.topic(SWITCHES_TOPIC), wire, open_reader, proof.fault)

    def look(self) -> Switches:
        """Read on to the topic's end; return the latest switch of each scope."""
        self._ask_again()
        self._read_on()
        return self._switches

    def _ask_again(self) -> None:
        """Look whether releases that could not be proved can be by now."""
        waiting, self._awaited = self._awaited, {}
        self._switches = self._switches._replace(awaited={})
        for record in sorted(waiting.values(), key=lambda record: record.source.offset):
            self._take(record)

    def throw(
        self,
        wanted: BreakerSwitch,
        append: Callable[[Sequence[Outgoing]], None],
        now_ms: int,
        reached: int,
        sign: Callable[[BreakerSwitch], BreakerSwitch],
    ) -> BreakerSwitch:
        """Append a switch, and return it once it is acknowledged and nothing unseen precedes it.

        reached: the sequence up to which the store says that it has taken switches over; a topic that was made anew
        starts above it. sign: adds its person's act. Where an unseen record before it has a sequence as high, of
        whichever scope, a store may be past this one already, so it is thrown again. A drill that is overtaken so is
        none to any reader (`Switches.after`), and its consent is still used once. Raises Refused for a switch that
        can't be.
        """
        require_sound(wanted)
        for _ in range(THROWS_MAX):
            sequence = next_version(max(self.look().reached, reached), now_ms)
            switch = sign(wanted._replace(sequence=sequence))
            append([Outgoing(self._topic, key_of(switch), self._wire.encode(switch))])
            found, key = self._read_on(), key_of(switch)
            first = next((each for each in found if key_of(each) == key), None)
            if first == switch and all(each.sequence < sequence for each in found[: found.index(switch)]):
                return switch
            if wanted.drill and first != switch:
                raise Refused("the drill stands on the topic, but is not proved there, so its scope trips by it")
        raise BrokerAway(
            f"others kept throwing switches before that of {wanted.scope} {THROWS_MAX} times in a row, "
            "or this machine's clock is minutes ahead of the broker's"
        )

    def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _read_on(self) -> list[BreakerSwitch]:
        """Take in what stands behind the last reading; return it in order."""
        try:
            if self._reader is None:
                self._reader = self._open_reader()
            extents = self._reader.extents(self._topic, self._ends or None)
            found: list[BreakerSwitch] = []
            for partition, extent in extents.items():
                begin = self._ends.get(partition, extent.low)
                if extent.high < begin:
                    raise BrokerFailed(f"{self._topic} ends before what was read of it: it was lost, or made anew")
                found += self._read_range(self._reader, partition, begin, extent.high)
                self._ends[partition] = max(begin, extent.high)
            return found
        except BrokerFailed:
            self.close()  # another look begins with a client of its own
            raise

    def _read_range(self, reader: LogReader, partition: int, begin: int, end: int) -> list[BreakerSwitch]:
        found: list[BreakerSwitch] = []
        while begin < end:
            read = reader.read_range(self._topic, partition, begin, end, RECORDS_A_LOOK, lambda record: record)
            found += [self._take(record) for record in read.taken]
            begin = read.end_offset
            if read.is_at_end and begin < end:
                raise BrokerAway(f"{self._topic} can't be read to its end yet")
        return found

    def _take(self, record: Record) -> BreakerSwitch:
        """Return the switch as it was thrown, where its record says that."""
        found = switch_of(
            record, self._wire.decode_breaker_switch(record.value), self._switches.reached, self._fault_of
        )
        thrown = found.thrown if isinstance(found, Awaited) else found
        scope = thrown.scope
        if not self._switches.has_room(scope):
            is_release = found is thrown and thrown.position is SwitchPosition.RELEASED
            self._switches = self._switches if is_release else self._switches.crowded(record)
            return thrown
        if isinstance(found, Awaited):
            self._awaited[scope] = record
            self._switches = self._switches._replace(awaited={**self._switches.awaited, scope: found.stand_in})
            return found.thrown
        self._switches = self._switches.after(found)
        return found


class SwitchFollower:
    """A worker's knowledge of the switches, renewed for as long as it runs."""

    def __init__(self, topic: SwitchTopic, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._topic, self._clock_s = topic, clock_s
        self._switches: Switches | None = None
        self._looked_s = 0.0
        self._why_not = "it has not been read yet"
        self._following: asyncio.Task[None] | None = None

    @property
    def known(self) -> Switches | None:
        """The switches; None where the topic's end was not seen for SWITCHES_STALE_S, or never."""
        return self._switches if self._clock_s() - self._looked_s <= SWITCHES_STALE_S else None

    @property
    def summary(self) -> str:
        return "followed" if self.known is not None else f"unknown: {self._why_not}"

    async def look(self) -> None:
        """Read on to the topic's end. A failure leaves what is known as it is, until it is stale."""
        began_s = self._clock_s()
        try:
            switches = await asyncio.to_thread(self._topic.look)
        except BrokerFailed as error:
            if str(error) != self._why_not:
                log.error("switches_unread", why=str(error))
            self._why_not = str(error)
            return
        if switches != self._switches:
            positions = {scope: str(each.position) for scope, each in switches.latest.items()}
            drills = {scope: each.drill for scope, each in switches.drills.items()}
            log.info("switches_read", positions=positions, drills=drills, awaited=sorted(switches.awaited))
        self._switches, self._looked_s, self._why_not = switches, began_s, ""

    def start(self) -> None:
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(SWITCH_INTERVAL_S)
            await self.look()
