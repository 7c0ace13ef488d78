"""How long a drill may take, and that its payments last so long."""

import pytest

from models.simulator import transactions
from ops.drills.pager import Rhythm
from ops.drills.patience import contained_s, longest_s, recovered_s, warm_s
from ops.drills.stage import Asked, changed_settings, lane_traffic
from pipeline.decide.policy import parse_policy
from pipeline.drills.drills import DrillName
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings

SHIPPED = Settings.model_construct()
TEXT = SHIPPED.policy_path.read_text()
POLICY = parse_policy(TEXT.encode())
RHYTHM = Rhythm(30.0, 60)


@pytest.mark.parametrize("drill", [DrillName.POSTGRES_LOST, DrillName.ONE_POSTCODE])
def test_payments_last_as_long_as_a_drill_in_full_may_take(drill):
    """Without any nothing shows that all is well again, and the system would be blamed for it."""
    asked = Asked(drill, rate=1, seed=7, seconds_max=900, is_full=True)
    traffic = lane_traffic(asked, SHIPPED, WireFormat(), POLICY, "AB", RHYTHM)
    paid = (each.transaction.event_time_ms >= traffic.plan.busy_from_ms for each in transactions(traffic.plan))
    assert sum(paid) >= longest_s(drill, POLICY.breaker, RHYTHM, is_full=True) * asked.rate


def test_the_longest_holds_every_wait_of_a_drill_in_full():
    breaker = POLICY.breaker
    waits = warm_s(DrillName.DRIFT, breaker, is_full=True), contained_s(breaker, RHYTHM, is_full=True)
    assert waits == (3 * 300, 4 * 300 + 2 * 180)
    assert recovered_s(breaker) == 2 * (600 + 3 * 120) + 120
    assert longest_s(DrillName.DRIFT, breaker, RHYTHM, is_full=True) > sum(waits) + recovered_s(breaker)


def test_only_the_settings_that_differ_are_told():
    assert changed_settings(POLICY.breaker, POLICY.breaker) == {}
    shorter = parse_policy(TEXT.replace("window_s = 300", "window_s = 120").encode())
    assert changed_settings(POLICY.breaker, shorter.breaker) == {"window_s": 120}
