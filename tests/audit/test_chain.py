"""The audit log's proofs. Roots are compared with RFC 6962's recursive definition, written down here a second time."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audit.chain import (
    CHAIN_START,
    Entry,
    Times,
    Tree,
    aside_leaf_hash,
    chain_hash,
    chained,
    consistency_proof,
    continued_proof,
    entries_of,
    entry_bytes,
    grown,
    inclusion_proof,
    is_consistent,
    is_frontier_of,
    is_included,
    leaf_hash,
    root,
    tree_root,
)

SIZES = st.integers(1, 40)
TIMES = Times(5, 5)


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(3, number, TIMES, b"record") for number in range(count)]


def entries(count: int) -> list[Entry]:
    return [Entry(2 * number, 1_000 + number, leaf) for number, leaf in enumerate(leaves(count))]


def definition(of: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, on leaf hashes."""
    if not of:
        return hashlib.sha256(b"").digest()
    if len(of) == 1:
        return of[0]
    middle = 1
    while middle * 2 < len(of):
        middle *= 2
    return hashlib.sha256(b"\x01" + definition(of[:middle]) + definition(of[middle:])).digest()


def test_root_of_the_rfc_s_test_vectors() -> None:
    """From the Certificate Transparency reference implementation: the leaf hashes' inputs and the root of all eight."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    hashed = [hashlib.sha256(b"\0" + bytes.fromhex(text)).digest() for text in inputs]
    assert "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d" == tree_root(hashed[:1]).hex()
    assert "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328" == tree_root(hashed).hex()


@given(st.integers(0, 130))
def test_root_is_the_definition_s_and_the_frontier_s(count: int) -> None:
    tree = grown(Tree(), entries(count))
    assert definition(leaves(count)) == tree_root(leaves(count)) == root(tree.frontier)
    assert is_frontier_of(tree.frontier, count)


@given(SIZES, st.data())
def test_batches_leave_no_trace_in_the_tree(count: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, count))
    every = entries(count)
    assert grown(Tree(), every) == grown(grown(Tree(), every[:cut]), every[cut:])
    chain_values = [grown(Tree(), every[: number + 1]).chain for number in range(count)]
    assert (chain_values, grown(Tree(), every)) == chained(Tree(), every)


@given(SIZES, st.data())
def test_inclusion_proof_holds_for_its_leaf_and_place_alone(count: int, data: st.DataObject) -> None:
    every = leaves(count)
    index = data.draw(st.integers(0, count - 1))
    path = inclusion_proof(every, index)
    assert is_included(every[index], index, count, path, tree_root(every))
    for other in range(count):
        assert (other == index) == is_included(every[other], index, count, path, tree_root(every))
        assert (other == index) == is_included(every[index], other, count, path, tree_root(every))
    assert not is_included(every[index], index, count, [*path, bytes(32)], tree_root(every))
    assert not path or not is_included(every[index], index, count, path[:-1], tree_root(every))


@given(SIZES, st.data())
def test_consistency_proof_holds_for_a_prefix_alone(count: int, data: st.DataObject) -> None:
    every = leaves(count)
    old_size = data.draw(st.integers(1, count))
    path = consistency_proof(every, old_size)
    assert is_consistent(old_size, count, tree_root(every[:old_size]), tree_root(every), path)
    altered = [bytes(32), *every[1:]]
    assert not is_consistent(old_size, count, tree_root(altered[:old_size]), tree_root(every), path)
    assert not is_consistent(old_size, count, tree_root(every[:old_size]), tree_root(altered), path)
    assert not is_consistent(
        old_size, count, tree_root(altered[:old_size]), tree_root(every), consistency_proof(altered, old_size)
    )


def test_leaf_binds_record_place_times_and_whether_it_was_put_aside() -> None:
    every = [
        leaf_hash(0, 1, TIMES, b"a"),
        leaf_hash(0, 1, TIMES, b"b"),
        leaf_hash(0, 2, TIMES, b"a"),
        leaf_hash(1, 1, TIMES, b"a"),
        leaf_hash(0, 1, Times(6, 5), b"a"),
        leaf_hash(0, 1, Times(5, 6), b"a"),
        aside_leaf_hash(0, 1, TIMES, b"why", b"a"),
        aside_leaf_hash(0, 1, TIMES, b"other", b"a"),
        aside_leaf_hash(0, 1, TIMES, b"why", b"b"),
    ]
    assert len(every) == len(set(every))


@given(SIZES, st.data())
def test_chain_changes_with_every_field_of_every_entry(count: int, data: st.DataObject) -> None:
    every = entries(count)
    place = data.draw(st.integers(0, count - 1))
    changed = data.draw(
        st.sampled_from(
            [
                every[place]._replace(offset=2 * place + 1),
                every[place]._replace(recorded_at_us=7),
                every[place]._replace(leaf=bytes(32)),
            ]
        )
    )
    assert grown(Tree(), every).chain != grown(Tree(), [*every[:place], changed, *every[place + 1 :]]).chain
    assert grown(Tree(), every).chain != grown(Tree(), [*every[:place], *every[place + 1 :]]).chain


def test_chain_is_the_documented_one() -> None:
    first, second = entries(2)
    chain = hashlib.sha256(b"\2" + CHAIN_START + entry_bytes(first)).digest()
    assert chain_hash(chain, entry_bytes(second)) == grown(Tree(), [first, second]).chain


def test_entries_are_read_as_written() -> None:
    every = entries(5)
    assert every == list(entries_of(b"".join(map(entry_bytes, every))))


def test_offsets_that_fall_are_a_bug() -> None:
    with pytest.raises(AssertionError, match="order of its offsets"):
        grown(Tree(), reversed(entries(2)))


@given(SIZES, st.integers(0, 100))
def test_4_a_proof_from_the_frontier_and_what_was_added_is_the_proof_from_all_leaves(size: int, added: int) -> None:
    every = leaves(size + added)
    frontier = grown(Tree(), entries(size)).frontier
    assert consistency_proof(every, size) == continued_proof(frontier, size, every[size:])
