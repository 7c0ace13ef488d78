"""The Faust channel that carries batches from librdkafka to the decision agent.

By default Faust owns a channel's queue. On every rebalance of its own consumer, which reads the context topics here,
Faust holds back what is sent, clears what is queued, and skips events of the previous generation. The commit of the
next batch would pass over a batch that was dropped so. This queue is therefore ours, and it carries the batch itself,
not a Faust event.
"""

from __future__ import annotations

from typing import Any

from faust.channels import Channel
from mode.utils.queues import FlowControlEvent, ThrowableQueue


class BatchChannel(Channel):  # type: ignore[type-arg]
    """A channel for one agent with one stream; every clone that Faust makes of it reads the one queue."""

    @property
    def queue(self) -> Any:
        if self._root is not None:
            return self._root.queue
        if self._queue is None:
            always_open = FlowControlEvent(initially_suspended=False)
            self._queue = ThrowableQueue(maxsize=self.maxsize or 0, flow_control=always_open)
        return self._queue

    def put_batch(self, batch: object) -> None:
        """Queue a batch, from the event loop only. Raises asyncio.QueueFull where `maxsize` allows no more."""
        self.queue.put_nowait(batch)
