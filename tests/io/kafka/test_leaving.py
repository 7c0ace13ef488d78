"""A consumer that leaves its group answers first what the group hands over: within close() that waits for ever."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.io.kafka.client import LEAVING_POLLS, LEAVING_POLLS_MAX, leave_group


class Member:
    """A consumer that is handed a partition with its first poll, and gives it back with a later one."""

    def __init__(self, held_for: int) -> None:
        self.calls: list[str] = []
        self._polls, self._held_for = 0, held_for

    def unsubscribe(self) -> None:
        self.calls.append("unsubscribe")

    def poll(self, _timeout: float) -> None:
        self.calls.append("poll")
        self._polls += 1

    def assignment(self) -> list[str]:
        return ["a partition"] if 0 < self._polls < self._held_for else []

    def close(self) -> None:
        self.calls.append("close")


@pytest.mark.parametrize(("held_for", "polls"), [(0, LEAVING_POLLS), (7, 7), (1_000, LEAVING_POLLS_MAX)])
def test_it_gives_up_its_partitions_before_it_closes(held_for: int, polls: int) -> None:
    member = Member(held_for)
    leave_group(member)
    assert member.calls == ["unsubscribe", *["poll"] * polls, "close"]


def test_one_that_was_fenced_closes_without_asking_its_group() -> None:
    class Fenced(Member):
        def unsubscribe(self) -> None:
            raise KafkaException(KafkaError(KafkaError._FATAL))

    member = Fenced(7)
    leave_group(member)
    assert member.calls == ["close"]
