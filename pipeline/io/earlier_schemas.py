"""The codec as the settings say, and the count of what earlier releases of schemas still write."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

from pipeline.io.avro.wire import Release, WireFormat
from pipeline.io.avro.writers import fingerprinted, is_read_as_it_is
from pipeline.io.settings import Settings

EARLIER: Final = Counter(
    "fraud_earlier_schema_records_total",
    "Records read that were written in an earlier release of their schema",
    ["schema", "release"],
)


def wire_of(settings: Settings) -> WireFormat:
    """Raises ValueError where the schema ids of FRAUD_CONFLUENT_IDS don't fit."""
    return WireFormat(settings.framing, settings.confluent_ids, count_earlier)


def count_earlier(release: Release) -> None:
    EARLIER.labels(release.schema, str(release.number)).inc()


for _release in sorted(set(fingerprinted().values())):
    if not is_read_as_it_is(_release):
        EARLIER.labels(_release.schema, str(_release.number))
