"""The Faust channel that carries batches from librdkafka to the decision agent.

A channel's queue is Faust's: on every rebalance of its own consumer (here: of the context topics) Faust holds back what
is sent, clears what is queued, and skips events of the generation before. A batch dropped so would be passed over by
the commit of the next one. This queue is therefore ours, and what travels is the batch itself, not a Faust event.
"""

from __future__ import annotations

from typing import Any

from faust.channels import Channel
from mode.utils.queues import FlowControlEvent, ThrowableQueue


class BatchChannel(Channel):  # type: ignore[type-arg]
    """For one agent with one stream: every clone that Faust makes of it reads the one queue."""

    @property
    def queue(self) -> Any:
        if self._root is not None:
            return self._root.queue
        if self._queue is None:
            always_open = FlowControlEvent(initially_suspended=False)
            self._queue = ThrowableQueue(maxsize=self.maxsize or 0, flow_control=always_open)
        return self._queue

    def put_batch(self, batch: object) -> None:
        """From the event loop only; raises asyncio.QueueFull where more is sent than `maxsize` allows."""
        self.queue.put_nowait(batch)
