"""The witness on a broker: what it says it has seen, what it refuses, and how it goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.stack.embedded import EmbeddedStack
from ops.verifier.witness import read_statements
from pipeline.alerts.catalogue import AlertCode
from pipeline.audit.continuing.bounds import NotContinued
from pipeline.audit.head import head_hash
from pipeline.audit.leaf_files import head_paths, leaf_path, read_entries, read_head
from pipeline.audit.witness import Statement, statement_of, statement_text
from pipeline.domain.alert import Alert
from pipeline.domain.anchor import Witnessed
from pipeline.io.clock import now_ms
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.client import BrokerAway
from pipeline.io.kafka.log_reader import LogReader
from pipeline.keys.key_files import SigningKey, create_signing_key, replace_key_set
from pipeline.keys.key_sets import KeySet, KeyUse, with_key, with_revocation
from pipeline.witness.service import Place, WitnessBroken, WitnessService
from pipeline.witness.statement_files import StatementFile, StatementFileBroken
from pipeline.witness.timestamp_client import Authority
from tests.audit.continuing.outside import Continuing, sign_heads
from tests.audit.logs import TOPIC, WIRE, Bench, records
from tests.records import NOON_MS
from tests.witness.authority import serving

COUNT = 40
DAY_MS = 86_400_000
STOPPED = threading.Event()
STOPPED.set()  # so that a step waits for nothing


class Watching:
    """A witness beside the log of a bench; `start` is what a restart is."""

    def __init__(self, log: Continuing, servers: str, folder: Path) -> None:
        self.log, self.folder, self._servers = log, folder, servers
        self.told: list[Alert] = []
        self.is_away = False
        self.service = self.start()

    def start(self, directory: str | None = "own", authority: Authority | None = None) -> WitnessService:
        prefix, keys = self.log.prefix, self.log.bench.keys
        file = None if directory is None else StatementFile(self.folder / directory)
        place = Place(prefix + "anchors.v1", prefix + "witness.v1", file, self.log.witness_key, keys)
        reader, appender = LogReader(self._servers, f"{prefix}witness", {}), Appender(self._servers, "witness", {})

        def append(outgoing) -> None:
            if self.is_away:
                raise BrokerAway("it is away")
            appender.append(outgoing)

        self.service = WitnessService(reader, append, self.told.append, WIRE, place, authority, 120.0)
        return self.service

    def restart(self, directory: str | None = "own", authority: Authority | None = None) -> WitnessService:
        self.service.close()
        return self.start(directory, authority)

    def published(self) -> list[Statement]:
        found = [
            WIRE.decode_witnessed(record.value) for record in self.log.reader.read_all(f"{self.log.prefix}witness.v1")
        ]
        return [statement_of(each.statement) for each in found if isinstance(each, Witnessed)]


@pytest.fixture
def watching(bench: Bench, stack: EmbeddedStack, tmp_path: Path) -> Iterator[Watching]:
    log = Continuing(bench, stack.bootstrap_servers)
    bench.open()
    bench.store(records(COUNT)[:20])
    log.anchor()
    opened = Watching(log, stack.bootstrap_servers, tmp_path)
    yield opened
    opened.service.close()
    log.close()


def grow(log: Continuing, end: int = COUNT) -> None:
    log.bench.store(records(COUNT)[20:end])
    log.anchor(NOON_MS + 1)


def test_what_is_published_is_seen_once_and_said_in_both_places(watching: Watching) -> None:
    assert watching.service.step(STOPPED) is None
    (statement,) = watching.published()
    latest = {p: read_head(head_paths(watching.log.bench.outside, TOPIC, p)[-1]).head for p in (0, 1)}
    assert {(p, head.tree_size, head_hash(head)) for p, head in latest.items()} == {
        (seen.partition, seen.tree_size, seen.head) for seen in statement.heads
    }
    watching.service.step(STOPPED)
    assert 1 == len(watching.published())
    grow(watching.log)
    watching.service.step(STOPPED)
    assert [1, 2] == [each.number for each in watching.published()]
    assert [1, 2] == [each.number for each in read_statements(watching.folder / "own" / "statements.jsonl")]
    assert 2 == watching.log.check().looked.statements
    assert [] == watching.told


def test_a_restart_goes_on_and_says_that_it_looks(watching: Watching) -> None:
    watching.service.step(STOPPED)
    watching.restart().step(STOPPED)
    first, second = watching.published()
    assert (first.heads, 2) == (second.heads, second.number)
    grow(watching.log)
    watching.service.step(STOPPED)
    assert [] == watching.told


def test_the_signing_key_s_holder_is_shown_up_by_the_next_head(watching: Watching) -> None:
    """Heads of another history, signed by the service's own key, with a proof that is as good as it gets."""
    watching.service.step(STOPPED)
    bench = watching.log.bench
    entries = list(read_entries(leaf_path(bench.outside, TOPIC, 0)))
    size = read_head(head_paths(bench.outside, TOPIC, 0)[-1]).head.tree_size
    forged = [entries[0]._replace(leaf=bytes(32)), *entries[1:]]
    for sizes in ([(size, NOON_MS)], [(size - 1, NOON_MS)]):
        (signed,) = sign_heads(bench.folder / f"forged{sizes[0][0]}", 0, forged, sizes, bench.key)
        watching.log.send("anchors.v1", WIRE.encode(signed.anchor([])), b"decisions.v1:0")
    assert "1 partitions do not continue" in str(watching.service.step(STOPPED))
    assert [AlertCode.WITNESS_REFUSED] == [alert.code for alert in watching.told]
    assert 1 == len(watching.published())
    with pytest.raises(NotContinued, match=r"anchors\.v1 has"):
        watching.log.check()


@pytest.mark.parametrize(("skipped", "why"), [(True, "does not name"), (False, "does not hold")])
def test_a_head_that_skips_one_or_proves_nothing_is_not_seen(watching: Watching, skipped: bool, why: str) -> None:
    watching.service.step(STOPPED)
    bench = watching.log.bench
    for begin, end in ((20, 30), (30, 40)):
        bench.store(records(COUNT)[begin:end])
        bench.anchor(NOON_MS + begin)  # published nowhere
    first, second = (read_head(path) for path in head_paths(bench.outside, TOPIC, 0)[1:])
    shown = second.anchor([]) if skipped else first.anchor([bytes(32)])
    watching.log.send("anchors.v1", WIRE.encode(shown), b"decisions.v1:0")
    watching.service.step(STOPPED)
    assert [True] == [why in alert.summary for alert in watching.told]
    assert 1 == len(watching.published())


def test_what_an_unknown_key_signed_is_looked_at_again_when_the_key_set_knows_it(watching: Watching) -> None:
    watching.service.step(STOPPED)
    bench = watching.log.bench
    known, second = bench.keys(), create_signing_key(bench.folder / "second", with_set=False)
    later = with_key(known, KeyUse.AUDIT, second.public, 0)
    replace_key_set(bench.key_set_path, later)
    watching.log.key = second
    grow(watching.log)
    replace_key_set(bench.key_set_path, known)  # the witness was not given the new one yet
    watching.service.step(STOPPED)
    assert [AlertCode.WITNESS_REFUSED] == [alert.code for alert in watching.told]
    assert 1 == len(watching.published())
    replace_key_set(bench.key_set_path, later)
    assert watching.restart().step(STOPPED) is None
    assert {s.tree_size for s in watching.published()[-1].heads} == {tree.size for tree in bench.log.trees.values()}


@pytest.mark.parametrize(("ended_days_ago", "is_seen"), [(2.0, False), (0.5, True)])
def test_an_ended_key_shows_nothing_new_however_its_heads_are_dated(
    watching: Watching, ended_days_ago: float, is_seen: bool
) -> None:
    """A head that waited for the broker may come within a day; whoever finds an old key can date theirs back."""
    watching.service.step(STOPPED)
    bench = watching.log.bench
    ended = bench.keys().keys[bench.key.key_id]._replace(valid_until_ms=now_ms() - int(ended_days_ago * DAY_MS))
    replace_key_set(bench.key_set_path, KeySet({**bench.keys().keys, ended.key_id: ended}))
    grow(watching.log)
    watching.service.step(STOPPED)
    assert (2 if is_seen else 1) == len(watching.published())
    assert [] == [alert.summary for alert in watching.told if "and this came" not in alert.summary]
    assert ([] if is_seen else [AlertCode.WITNESS_REFUSED]) == [alert.code for alert in watching.told]


def test_a_statement_that_the_broker_did_not_take_is_published_from_the_file(watching: Watching) -> None:
    watching.is_away = True
    with pytest.raises(BrokerAway):
        watching.service.step(STOPPED)
    watching.is_away = False
    watching.service.begin_again()
    watching.service.step(STOPPED)
    assert [1, 2] == [each.number for each in watching.published()]


def test_a_file_on_a_new_volume_is_filled_from_the_topic(watching: Watching) -> None:
    watching.service.step(STOPPED)
    watching.restart("another").step(STOPPED)
    assert [1, 2] == [each.number for each in read_statements(watching.folder / "another" / "statements.jsonl")]
    watching.restart(None).step(STOPPED)
    watching.restart("another").step(STOPPED)
    assert [1, 2, 3, 4] == [each.number for each in read_statements(watching.folder / "another" / "statements.jsonl")]


def test_a_line_that_a_crash_cut_short_is_removed(watching: Watching) -> None:
    watching.service.step(STOPPED)
    path = watching.folder / "own" / "statements.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:100])
    watching.restart().step(STOPPED)
    assert [1, 2] == [each.number for each in read_statements(path)]
    with pytest.raises(StatementFileBroken, match="another process's"):
        StatementFile(watching.folder / "own")


def test_a_witness_whose_places_contradict_each_other_ends(watching: Watching) -> None:
    watching.service.step(STOPPED)
    path = watching.folder / "own" / "statements.jsonl"
    watching.service.close()
    stranger = StatementFile(watching.folder / "stranger")
    text = next(StatementFile.statements(stranger), None)
    assert text is None
    stranger.close()
    path.write_text(path.read_text().replace('"signature":"', '"signature":"00'))
    with pytest.raises(WitnessBroken, match="not signed by a key that the key set trusts"):
        watching.start().step(STOPPED)


@pytest.mark.parametrize("count", [1, 3])
def test_what_others_write_to_its_topic_stops_no_witness_that_has_its_file(
    watching: Watching, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Whoever has its credential on the broker, and not its key."""
    monkeypatch.setattr("pipeline.witness.service.STATEMENTS_COMPARED", 2)
    watching.service.step(STOPPED)
    thief = create_signing_key(watching.log.bench.folder / "thief", with_set=False)
    [said] = watching.published()
    text = statement_text(said)
    forged = WIRE.encode(Witnessed(text, thief.key_id, thief.sign(text.encode()), None))
    for _ in range(count):
        watching.log.send("witness.v1", b"rubbish")
        watching.log.send("witness.v1", forged)
    watching.restart().step(STOPPED)
    assert [1, 2] == [each.number for each in read_statements(watching.folder / "own" / "statements.jsonl")]
    own = [
        each
        for each in watching.log.reader.read_all(f"{watching.log.prefix}witness.v1")
        if each.value not in (b"rubbish", forged)
    ]
    assert len(own) == 2, "nothing is said twice"
    assert {AlertCode.WITNESS_REFUSED} == {alert.code for alert in watching.told}
    assert len(watching.told) == 2
    with pytest.raises(WitnessBroken):
        watching.restart(None).step(STOPPED)


def test_a_revoked_witness_says_nothing_more(watching: Watching) -> None:
    watching.service.step(STOPPED)
    bench = watching.log.bench
    revoked = with_revocation(bench.keys(), watching.log.witness_key.key_id, now_ms(), "Its host was entered.")
    replace_key_set(bench.key_set_path, revoked)
    grow(watching.log)
    with pytest.raises(WitnessBroken, match="revoked since"):
        watching.service.step(STOPPED)
    assert 1 == len(watching.published())


def test_statements_carry_timestamps_and_go_on_without(watching: Watching, tmp_path: Path) -> None:
    with serving(tmp_path / "authority") as authority:
        watching.restart(authority=Authority(authority.url, authority.root)).step(STOPPED)
        authority.is_silent = True
        grow(watching.log)
        watching.service.step(STOPPED)
    stamps = [each.timestamp is not None for each in read_statements(watching.folder / "own" / "statements.jsonl")]
    assert [True, False] == stamps
    assert [AlertCode.TIMESTAMP_MISSING] == [alert.code for alert in watching.told]


def test_the_audit_key_is_no_witness(watching: Watching) -> None:
    assert isinstance(watching.log.bench.key, SigningKey)
    watching.log.witness_key = watching.log.bench.key
    with pytest.raises(WitnessBroken, match="is for audit, not for witness"):
        watching.restart().step(STOPPED)
