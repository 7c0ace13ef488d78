"""Records of decisions.v1, and dead letters, that a bench writes itself, under the keys that development makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ops.bench.rig.topics_io import Outbound
from pipeline.domain.log import Outgoing
from pipeline.io.kafka import client
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.io.settings import Settings
from pipeline.keys.key_files import SigningKey
from pipeline.keys.key_sets import KeyUse
from pipeline.seals.proving import SEAL_USES, kind_of
from pipeline.seals.seal import Sealer
from pipeline.seals.seal_files import make_seal_keys


class Sealing:
    """Seals for one topic, each record by the key of its kind."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        directory = Settings().seal_directory
        make_seal_keys(directory)
        partitions = len(client.partitions_of(client.admin_client(bootstrap_servers, {}), topic))
        place = Partitioning(Partitioner.CRC32, partitions).of
        keys = {use: SigningKey.from_file(directory / f"{use}.key") for use in SEAL_USES}
        self._topic = topic
        self._sealers: Mapping[KeyUse, Sealer] = {
            use: Sealer(topic, place, key.key_id, key.sign) for use, key in keys.items()
        }

    def of(self, records: Iterable[Outbound]) -> list[Outbound]:
        """Return the records in their order, sealed; those of one kind together."""
        every = list(records)
        sealed: dict[int, Outbound] = {}
        for use, sealer in self._sealers.items():
            places = [place for place, record in enumerate(every) if _use_of(record.value) is use]
            outgoing = sealer.seal([Outgoing(self._topic, every[place].key, every[place].value) for place in places])
            sealed |= {
                place: every[place]._replace(headers=record.headers)
                for place, record in zip(places, outgoing, strict=True)
            }
        return [sealed[place] for place in range(len(every))]


def _use_of(value: bytes) -> KeyUse:
    """Return the use of the key that seals a value: a worker's, where it is of no kind of decisions.v1."""
    return kind_of(value) or KeyUse.DECISIONS


def sealed(bootstrap_servers: str, topic: str, records: Iterable[Outbound]) -> list[Outbound]:
    """Seal records of one topic, to be published on the partitions of their keys."""
    return Sealing(bootstrap_servers, topic).of(records)
