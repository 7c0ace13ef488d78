"""The records that the log is of, read back from their topic."""

from __future__ import annotations

from pipeline.domain.log import Record
from pipeline.io.kafka.log_reader import LogReader


class SourceTopic:
    """For one thread."""

    def __init__(self, log: LogReader, topic: str) -> None:
        self._log, self._topic = log, topic

    def values(self, partition: int, first: int, last: int) -> dict[int, Record]:
        """Return the committed records at offsets [first, last]. Raises BrokerFailed and the like."""
        records = self._log.read_settled(self._topic, partition, first, last + 1)
        return {record.source.offset: record for record in records}
