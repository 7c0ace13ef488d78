"""A worker that decides all that was published, and ends."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ops.bench.rig.publisher import publish
from ops.bench.rig.services import worker_process
from ops.bench.rig.supervision import running
from ops.bench.rig.topics_io import Outbound, prepare_topics
from ops.bench.rig.waiting import wait_committed
from ops.stack.real import RealStack

DECIDING_S: Final = 600


def decide(stack: RealStack, directory: Path, records: Iterable[Outbound], *, partitions: int = 4) -> int:
    """Publish the records, have a worker decide them, and return how many there were."""
    servers = stack.bootstrap_servers
    prepare_topics(servers, "", partitions)
    published = publish(servers, "transactions.v1", records)
    with running(worker_process(directory, servers, stack.redis_url)):
        wait_committed(servers, published, DECIDING_S, f"deciding on {published} payments")
    return published
