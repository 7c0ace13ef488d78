"""A file's payments with the features that the stream gives them: those that serving would have seen.

The windows see every payment from the first on; only those of the days that are asked for are kept, because a row of
all features takes half a kilobyte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.artefact.scoring import Column
from models.simulator import LabelledTransaction, TrafficEvent
from models.train.history import HistoryRefused, events_of, observed
from pipeline.domain.features import Matrix
from pipeline.publish.file_map import FileMap
from pipeline.publish.payment_files import NO_MAP
from pipeline.publish.plan import HANDBOOK_EPOCH_MS
from pipeline.state.periods import DAY_MS
from pipeline.terminal.output import Advance, unseen


class Payments(NamedTuple):
    """Payments in order of time, one a row."""

    features: Matrix  # (n, len(FEATURES))
    fraud: NDArray[np.bool_]
    day: Column  # since 2018-04-01, which a file of the short form counts from
    account: Column  # a number for each paying account

    def rows(self, which: NDArray[np.bool_] | Column) -> Payments:
        return Payments(self.features[which], self.fraud[which], self.day[which], self.account[which])


def read(path: Path, days: range, advance: Advance = unseen, rules: FileMap = NO_MAP) -> Payments:
    """Stream the file's payments and their labels, and keep those of some days. Raises HistoryRefused, and Unreadable.

    What comes after the last of the days isn't read. `advance` is called with the number of payments so far. A payment
    that a static guardrail blocks is left out, as the model is never asked about it.
    """
    accounts = _Accounts()
    parts: list[Payments] = []
    for examples in observed(accounts.noted(events_of(path, rules), advance)):
        day = (examples.event_time_ms - HANDBOOK_EPOCH_MS) // DAY_MS
        kept = (day >= days.start) & (day < days.stop)
        account = accounts.numbered(examples.number)
        parts.append(Payments(examples.features, examples.fraud, day, account).rows(kept))
        if len(day) and day[0] >= days.stop:
            break
    if not parts:
        raise HistoryRefused("the history is empty")
    return Payments(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class _Accounts:
    """Numbers the accounts of payments in the order in which they first pay."""

    def __init__(self) -> None:
        self._numbers: list[int] = []  # by payment of the stream
        self._number_of: dict[str, int] = {}

    def numbered(self, payments: Column) -> Column:
        return np.array([self._numbers[each] for each in payments.tolist()], dtype=np.int64)

    def noted(self, stream: Iterator[TrafficEvent], advance: Advance) -> Iterator[TrafficEvent]:
        for each in stream:
            if isinstance(each, LabelledTransaction):
                known = self._number_of
                self._numbers.append(known.setdefault(each.transaction.account_id, len(known)))
                if len(self._numbers) % 5_000 == 0:
                    advance(len(self._numbers))
            yield each
