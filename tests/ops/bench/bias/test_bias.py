"""The simulated traffic is what it says, and a short run of the bench goes well."""

from __future__ import annotations

import numpy as np
import pytest

from ops.bench.bias import bias
from ops.bench.bias.traffic import CHANNELS, SUSPECT_SHARE, Simulated, Wrong
from pipeline.bias.counting import Column


def test_every_attribute_divides_the_same_events_and_the_suspect_has_its_share() -> None:
    traffic = Simulated(3)
    total = sum(traffic.minute() for _ in range(500))
    channels, others = total[1 : 1 + CHANNELS], total[1 + CHANNELS :]
    assert channels[:, Column.BLOCKED].sum() * 2 == others[:, Column.BLOCKED].sum()
    assert total[0, Column.BLOCKED] == channels[:, Column.BLOCKED].sum()
    suspect = total[1 + traffic.scopes.index(traffic.suspect)]
    assert SUSPECT_SHARE == pytest.approx(suspect[Column.PAYMENTS] / total[0, Column.PAYMENTS], rel=0.05)


def test_a_wrong_minute_blocks_the_suspects_and_counts_them_in_every_attribute() -> None:
    quiet, wrong = Simulated(3).minute(), Simulated(3).minute(Wrong(0.4))
    added = np.asarray(wrong - quiet)[:, Column.BLOCKED]
    row = 1 + Simulated(3).scopes.index(Simulated(3).suspect)
    assert added[row] > 0
    assert added[0] == added[row] == added[1 : 1 + CHANNELS].sum()


@pytest.mark.timeout(1200)
def test_a_short_run_goes_well(tmp_path) -> None:
    answer = bias.run(lambda _line: None, tmp_path, is_quick=True, sizes={"days": 1, "starts": 1})
    assert (True, []) == (answer["ok"], answer["false_alerts"])
