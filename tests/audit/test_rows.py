"""Records of decisions.v1 as the audit log reads them: as fastavro reads the whole union, whichever record it is."""

from __future__ import annotations

import io

import pytest
from fastavro import schemaless_reader

from pipeline.audit.rows import kind_of
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.avro.wire import WireFormat
from tests.audit.logs import records
from tests.decisions import UNION, avro_fields, record_of


def test_every_record_is_decoded_as_by_the_union_s_schema() -> None:
    for each in records(20):
        whole = schemaless_reader(io.BytesIO(each.value[10:]), UNION, None)
        assert isinstance(whole, dict)
        assert kind_of(each.value).name == type(each.content).__name__
        assert whole == avro_fields(record_of(each.value))


@pytest.mark.parametrize("branch", [b"\x01", b"\x03", b"\x06", b"\x80\x01", b""])
def test_branch_that_there_is_not_is_refused(branch: bytes) -> None:
    value = records(1)[0].value
    decoded = WireFormat().decode_decision_record(value[:10] + branch)
    assert isinstance(decoded, Refusal)
    assert RefusalCode.DECODE_FAILED is decoded.code
    with pytest.raises(ValueError, match="no record"):
        kind_of(value[:10] + branch)
