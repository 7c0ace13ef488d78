"""What people and plans append to decisions.v1 reads back field by field."""

import pytest

from pipeline.domain.decision import Outcome
from pipeline.io.avro.wire import WireFormat
from pipeline.rollback.reversal import Reversal

WIRE = WireFormat()
REVERSAL = Reversal("r", "d", "t", "a", "p", 1, Outcome.ALLOW, None, "because", "rae", "abe")


@pytest.mark.parametrize("corrected", [None, *Outcome])
def test_a_reversal_reads_back_as_it_was_written(corrected):
    fields = REVERSAL._replace(corrected_outcome=corrected)._asdict()
    value = WIRE.encode("decision.v1", {"-type": "fraud.v1.Reversal", **fields})
    assert WIRE.decode("decision.v1", value) == {"record": "Reversal", **fields}
