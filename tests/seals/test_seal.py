"""Seals: what one holds for, and that nobody's bytes change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.log import SEAL_HEADER, Outgoing
from pipeline.keys.key_sets import KeyUse
from pipeline.seals.seal import DEPTH_MAX, GROUP_MAX, HASH_BYTES, leaf_hash, read_seal, root_of
from tests.seals.given import Writers, presented, sealed, value_of

WRITERS = Writers(partition_of=len)
SEALER, CHECK = WRITERS.sealer(KeyUse.DECISIONS), WRITERS.check()
RECORDS = st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=300)), max_size=GROUP_MAX + 40)


@given(RECORDS)
def test_1_and_2_every_record_of_a_group_of_any_size_is_proved(records: list[tuple[bytes, bytes]]) -> None:
    outgoing = [Outgoing("decisions.v1", key, value_of(KeyUse.DECISIONS, text)) for key, text in records]
    assert [None] * len(records) == [CHECK.unproved(presented(record)) for record in SEALER.seal(outgoing)]


@given(RECORDS)
def test_3_no_byte_of_a_record_changes_and_other_topics_go_as_they_are(records: list[tuple[bytes, bytes]]) -> None:
    outgoing = [Outgoing("alerts.v1" if not key else "decisions.v1", key, text) for key, text in records]
    sealed_records = SEALER.seal(outgoing)
    assert [record[:3] for record in outgoing] == [record[:3] for record in sealed_records]
    assert [record for record in outgoing if record.topic == "alerts.v1"] == [
        record for record in sealed_records if record.topic == "alerts.v1"
    ]
    assert [len(record.key or b"") for record in outgoing if record.topic == "decisions.v1"] == [
        record.partition for record in sealed_records if record.topic == "decisions.v1"
    ]


@given(st.integers(2, GROUP_MAX), st.data())
def test_1_a_seal_holds_for_its_own_record_alone(count: int, data: st.DataObject) -> None:
    group = sealed(SEALER, *(value_of(KeyUse.DECISIONS, b"%d" % number) for number in range(count)))
    one, other = data.draw(st.permutations(range(count)))[:2]
    assert CHECK.unproved(presented(group[one]._replace(headers=group[other].headers))) is not None


@given(st.integers(1, GROUP_MAX), st.data())
def test_1_no_byte_of_record_or_seal_can_change(count: int, data: st.DataObject) -> None:
    group = sealed(SEALER, *(value_of(KeyUse.DECISIONS, b"%d" % number) for number in range(count)))
    record = presented(group[data.draw(st.integers(0, count - 1))])
    assert record.seal is not None
    name = data.draw(st.sampled_from(["key", "value", "seal"]))
    before = getattr(record, name)
    place, flipped = data.draw(st.integers(0, len(before) - 1)), data.draw(st.integers(1, 255))
    after = before[:place] + bytes([before[place] ^ flipped]) + before[place + 1 :]
    assert CHECK.unproved(record._replace(**{name: after})) is not None


def test_1_a_leaf_is_of_one_place_and_key() -> None:
    leaves = {
        leaf_hash("decisions.v1", 0, b"a", b"b"),
        leaf_hash("decisions.v1", 1, b"a", b"b"),
        leaf_hash("decisions.v", 0, b"a", b"b"),
        leaf_hash("decisions.v1", 0, b"ab", b""),
        leaf_hash("decisions.v1", 0, b"", b"ab"),
        leaf_hash("decisions.v1", 0, None, b"ab"),
    }
    assert 6 == len(leaves)


def test_2_a_node_is_never_taken_for_a_leaf() -> None:
    first, second = sealed(SEALER, value_of(KeyUse.DECISIONS, b"1"), value_of(KeyUse.DECISIONS, b"2"))
    leaves = [leaf_hash(each.topic, each.partition, each.key, each.value) for each in (first, second)]
    node = b"".join(leaves)  # what the node above them is the hash of
    forged = first._replace(value=node, key=None)
    seal = first.headers[0][1][: -len(leaves[0])]  # type: ignore[index]  # a path without its last step
    assert CHECK.unproved(presented(forged._replace(headers=[(SEAL_HEADER, seal)]))) is not None


def test_a_group_has_one_signature() -> None:
    group = sealed(SEALER, *(value_of(KeyUse.DECISIONS, b"%d" % number) for number in range(GROUP_MAX)))
    seals = [read_seal(presented(record).seal or b"") for record in group]
    assert 1 == len({seal.signature for seal in seals if seal is not None})
    roots = {
        root_of(leaf_hash(record.topic, record.partition, record.key, record.value), seal)
        for record, seal in zip(group, seals, strict=True)
        if seal is not None
    }
    assert 1 == len(roots)


@given(st.binary(max_size=75 + (DEPTH_MAX + 2) * HASH_BYTES))
def test_what_is_no_seal_is_read_as_none_or_proves_nothing(header: bytes) -> None:
    record = presented(sealed(SEALER, value_of(KeyUse.DECISIONS))[0])
    assert CHECK.unproved(record._replace(seal=header)) is not None
