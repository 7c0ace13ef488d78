"""The ceiling: the worker's transport, which decides nothing but consumes, decodes, encodes, produces and commits.

Every record gets the same constant verdict and features, so all the bytes that a real decision needs are moved.
"""

from __future__ import annotations

import asyncio
import signal
import time

import numpy as np

from ops.processes.arguments import arguments
from pipeline.decide.app import AGENT_ID
from pipeline.decide.decision_encoder import DecisionEncoder, with_position
from pipeline.decide.regime_files import RegimeSource
from pipeline.decide.verdict import CONFIDENCE_CERTAIN_BP, Mode, ModelAnswer, Verdict
from pipeline.domain.decision import BreakerState, Outcome, Reason, Route
from pipeline.domain.features import FEATURES
from pipeline.domain.log import Outgoing
from pipeline.domain.payment import Decoded
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.transaction_log import Batch, TransactionLog
from pipeline.io.settings import Settings

_FACTS = (
    "the IP address is linked to no fraud reports",
    "the account has paid this beneficiary before",
    "the payment is 104 % of the account's 30-day average",
)
_REASONS = [Reason("MODEL_A_FEATURE_OF_USUAL_LENGTH", fact, 12, 10, 2, -123_456) for fact in _FACTS]
_VERDICT = Verdict(
    Outcome.ALLOW,
    Route.MODEL,
    Mode(BreakerState.CLOSED, "all", True),
    CONFIDENCE_CERTAIN_BP,
    ModelAnswer(Outcome.ALLOW, 1_234, -6_543_210, False),
    f"Allowed because {', '.join(_FACTS)}.",
    _REASONS,
    [],
)
_FEATURES = np.arange(1_000, 1_000 + len(FEATURES), dtype=np.int64)


async def run(settings: Settings) -> None:
    wire = WireFormat(settings.framing, settings.confluent_ids)
    encoder = DecisionEncoder(wire.header("decision.v1"), RegimeSource(settings).current, AGENT_ID)
    topic = settings.topic("decisions.v1")
    log = TransactionLog.of(settings)
    batches: asyncio.Queue[Batch] = asyncio.Queue()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)

    async def commit(batch: Batch, outgoing: list[Outgoing]) -> None:
        await log.commit(batch, outgoing)
        log.release()

    async def decide() -> None:
        under_way: asyncio.Task[None] | None = None
        while True:
            batch = await batches.get()
            now_ms = time.time_ns() // 1_000_000
            payments = []
            for record in batch.records:
                decoded = wire.decode_transaction(record.value)
                assert isinstance(decoded, Decoded)
                payments.append(decoded)
            count = len(payments)
            sources = [record.source for record in batch.records]
            features = np.broadcast_to(_FEATURES, (count, len(FEATURES)))
            values = encoder.encode(
                payments, sources, with_position(features, -1), [_VERDICT] * count, [now_ms] * count
            )
            outgoing = [Outgoing(topic, record.key, value) for record, value in zip(batch.records, values, strict=True)]
            if under_way is not None:
                await under_way
            under_way = asyncio.create_task(commit(batch, outgoing))

    log.join()
    await log.fence()
    log.start(batches.put_nowait, lambda _error: loop.call_soon_threadsafe(stopped.set))
    deciding = asyncio.create_task(decide())
    await stopped.wait()
    deciding.cancel()
    await log.stop()


if __name__ == "__main__":
    arguments(__doc__)
    asyncio.run(run(Settings()))
