"""The breaker's values as Redis holds them: counters are fields of a hash, records and watches are JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pipeline.breaker import Affected, BreakerRecord, Cause, Condition, Event, Lineage, Transition, Trip, Watch
from pipeline.breaker.answer_counts import LATENCY_BOUNDS_MS, SUMS, Counts, is_probe
from pipeline.breaker.detecting.baselines import Baseline, Usual
from pipeline.domain.decision import BreakerState

LINEAGE: Final = "lineage"
"""Name of the field of the states hash that holds the latest writes, newest first."""
SWITCHED: Final = "switched"
"""Name of the field that holds the sequence up to which people's switches are taken over. No scope has these names."""


_NO_SCOPES: Final = frozenset({LINEAGE, SWITCHED})
_USUAL: Final = "usual|"
"""Begins the names under which the watches keep what was usual in a scope. No scope's name begins so."""
_DOUBTS: Final = "doubts|"
"""Likewise the evidence on what the model escalates by itself, which earlier releases don't have."""
_STREAKS_FIRST: Final = 5
"""Streaks that stand in a watch's own place: those of the conditions before ESCALATE_RATE_SPIKE."""
_WATCH_FIRST: Final = 10
"""Values of a watch that stand in its own place; what came later stands under names that earlier releases pass over."""


class Unreadable(ValueError):
    """The store holds something that this version does not write."""


class States(NamedTuple):
    lineage: Lineage
    switched: int  # the sequence up to which people's switches are taken over; 0 for none
    records: dict[str, BreakerRecord]


@dataclass(frozen=True, slots=True)
class Claimed:
    """The readings that one evaluation works on, all of one moment."""

    now_ms: int
    states: States
    watches: dict[str, Watch]
    excluded: frozenset[tuple[str, int]]
    hours: list[str]
    totals: dict[str, Counts]
    at_before: dict[str, Counts]
    error_mark_ms: int
    at_error_window: dict[str, Counts]
    window_mark_ms: int
    at_window: dict[str, Counts]
    first: dict[int, int]  # by partition, the offset from which on payments are counted in the window
    end: dict[int, int]  # by partition, the offset before which they are


def claimed_from(answer: list[Any]) -> Claimed | None:
    """Parse the reply of claim.lua; None where another worker has claimed this interval's evaluation."""
    now_ms, is_claimed, *readings = answer
    if not is_claimed:
        return None
    states, watch, excluded, hours, totals, before, error_mark_ms, error_window, window_mark_ms, window = readings
    try:
        members = frozenset([_member(text) for text in excluded])
        return Claimed(
            now_ms=now_ms,
            states=states_from(dict(zip(states[::2], states[1::2], strict=True))),
            watches=watches_from(watch),
            excluded=members,
            hours=hours,
            totals=totals_from(totals),
            at_before=totals_from(before),
            error_mark_ms=error_mark_ms,
            at_error_window=totals_from(error_window),
            window_mark_ms=window_mark_ms,
            at_window=totals_from(window),
            first=positions_from(window),
            end=positions_from(totals),
        )
    except (ValueError, KeyError) as error:
        raise Unreadable(f"the breaker's stored counts can't be read: {error}") from error


def excluded_member(scope: str, hour_ms: int) -> str:
    return f"{hour_ms}|{scope}"


def counters(counts: Counts) -> Iterator[tuple[str, int]]:
    """Yield the name and the increment of each counter that isn't 0."""
    for name, value in zip(COUNTERS, (*counts[:SUMS], *counts.latency), strict=True):
        if value:
            yield name, value


def totals_from(flat: Sequence[str]) -> dict[str, Counts]:
    """Return counts by scope from the alternating fields and values of a totals hash.

    A count that this version doesn't know, which a later one adds, is passed over.
    """
    values: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(COUNTERS))
    for field, value in zip(flat[::2], flat[1::2], strict=True):
        counter, _, scope = field.partition("|")
        if counter in _COUNTER_INDEX:
            values[scope][_COUNTER_INDEX[counter]] = int(value)
    return {scope: _counts(row) for scope, row in values.items()}


def scopes_in(fields: Iterable[str]) -> set[str]:
    """Return the scopes that fields of a totals hash are about, without probations."""
    found = [field.partition("|") for field in fields]
    return {scope for counter, _, scope in found if counter != _POSITION and not is_probe(scope)}


def positions_from(flat: Sequence[str]) -> dict[int, int]:
    """Return the end offset of each partition that a totals hash holds beside the counts."""
    fields = zip(flat[::2], flat[1::2], strict=True)
    return {int(field.partition("|")[2]): int(value) for field, value in fields if field.startswith(f"{_POSITION}|")}


def states_from(fields: Mapping[str, str]) -> States:
    try:
        lineage = _lineage(fields.get(LINEAGE, ""))
        switched = int(fields.get(SWITCHED, 0))
        records = {scope: _record(scope, text) for scope, text in fields.items() if scope not in _NO_SCOPES}
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(f"the breaker's stored state can't be read: {error}") from error
    return States(lineage, switched, records)


def states_from_bytes(fields: Mapping[bytes, bytes]) -> States:
    try:
        return states_from({scope.decode(): text.decode() for scope, text in fields.items()})
    except UnicodeDecodeError as error:
        raise Unreadable(f"the breaker's stored state can't be read: {error}") from error


def lineage_to_text(lineage: Lineage) -> str:
    return " ".join(lineage.writes)


def record_to_json(record: BreakerRecord) -> str:
    return json.dumps(record._asdict() | {"cause": record.cause._asdict()} | {"frozen": _optional(record.frozen)})


def watches_from(text: str) -> dict[str, Watch]:
    try:
        stored = json.loads(text)
        usual = {name: _baseline(_Object(kept[-1])) for name, kept in stored.items() if name.startswith(_USUAL)}
        doubts = {name: kept for name, (_, *kept) in stored.items() if name.startswith(_DOUBTS)}
        found = {}
        for scope, (streaks, *rest) in stored.items():
            if len(streaks) == _STREAKS_FIRST:
                streak, shift, evidence = doubts.get(_DOUBTS + scope, _NO_DOUBTS)
                found[scope] = Watch((*streaks, streak), *rest)._replace(
                    usual=usual.get(_USUAL + scope), doubt_shift=shift, doubt_evidence=evidence
                )
        return found
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(f"the breaker's stored watch can't be read: {error}") from error


def watches_to_json(watches: Mapping[str, Watch]) -> str:
    """Write each watch, and what earlier releases don't know of it under names of its own: they pass over those."""
    written: dict[str, Sequence[object]] = {}
    for scope, watch in watches.items():
        if watch != Watch():
            *streaks, streak = watch.streaks
            written[scope] = [streaks, *watch[1:_WATCH_FIRST]]
            if (doubts := (streak, watch.doubt_shift, watch.doubt_evidence)) != _NO_DOUBTS:
                written[_DOUBTS + scope] = [[], *doubts]
        if watch.usual is not None:
            written[_USUAL + scope] = [[], watch.usual._asdict()]
    return json.dumps(written)


def without_usual(text: str, scopes: Callable[[str], bool]) -> str:
    """Return stored watches in which these scopes keep nothing as usual."""
    return watches_to_json(
        {scope: watch._replace(usual=None) if scopes(scope) else watch for scope, watch in watches_from(text).items()}
    )


def transition_to_json(transition: Transition) -> str:
    return json.dumps(
        {
            "before": transition.before,
            "event": transition.event,
            "after": record_to_json(transition.after),
            "scope": transition.after.scope,
            "at_ms": transition.at_ms,
            "window": transition.window,
            "trips": [trip._asdict() for trip in transition.trips],
            "affected": transition.affected._asdict(),
        }
    )


def transition_from(text: str) -> Transition:
    try:
        stored = _Object(json.loads(text))
        *sums, latency = stored.array("window")
        if not isinstance(latency, list):
            raise TypeError("window ends with no latencies")
        return Transition(
            BreakerState(stored.text("before")),
            Event(stored.text("event")),
            _record(stored.text("scope"), stored.text("after")),
            stored.number("at_ms"),
            _counts([*_sums([_number(each) for each in sums]), *[_number(each) for each in latency]]),
            tuple([_trip(_Object(each)) for each in stored.array("trips")]),
            _affected(stored.member("affected")),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(f"a stored transition can't be read: {error}") from error


COUNTERS: Final = (
    *("allow", "block", "escalate", "errors", "score", "squares", "doubt", "doubt_known"),
    *(f"latency_{bound_ms}" for bound_ms in (*LATENCY_BOUNDS_MS, "more")),
)
_POSITION: Final = "position"
_COUNTER_INDEX: Final = {name: index for index, name in enumerate(COUNTERS)}


_NO_DOUBTS: Final = (0, 0.0, 0.0)


def _counts(row: Sequence[int]) -> Counts:
    allow, block, escalate, errors, score_sum_ppm, score_square_sum_ppm, doubt, doubt_known, *latency = row
    sums = allow, block, escalate, errors, score_sum_ppm, score_square_sum_ppm, doubt, doubt_known
    return Counts(*sums, tuple(latency))


def _sums(stored: Sequence[int]) -> list[int]:
    """Return the sums of a stored window; one of before doubts were counted knows of none."""
    if len(stored) not in (SUMS, SUMS - 2):
        raise ValueError(f"a window has {len(stored)} sums")
    return [*stored, *(0,) * (SUMS - len(stored))]


def _record(scope: str, text: str) -> BreakerRecord:
    stored = _Object(json.loads(text))
    return BreakerRecord(
        scope=scope,
        state=BreakerState(stored.text("state")),
        version=stored.number("version"),
        since_ms=stored.number("since_ms"),
        open_until_ms=stored.number("open_until_ms"),
        cause=_cause(stored.member("cause")),
        reopenings=stored.number("reopenings"),
        frozen=None if stored["frozen"] is None else _baseline(stored.member("frozen")),
        share_percent=stored.number("share_percent"),
        salt=stored.text("salt"),
        drill=stored.text("drill"),
    )


def _cause(stored: _Object) -> Cause:
    tripped_by = tuple([Condition(_text(name)) for name in stored.array("tripped_by")])
    return Cause(stored.text("text"), stored.text("author"), tripped_by)


def _trip(stored: _Object) -> Trip:
    return Trip(
        Condition(stored.text("condition")),
        _real(stored["observed"]),
        _real(stored["limit"]),
        _real(stored["excess"]),
        stored.text("unit"),
        stored.number("counted"),
        stored.number("sample"),
        stored.text("evidence"),
        stored.truth("is_certain"),
    )


def _affected(stored: _Object) -> Affected:
    first, end = stored.numbers("first"), stored.numbers("end")
    return Affected(stored.number("from_ms"), stored.number("error_from_ms"), stored.number("to_ms"), first, end)


def _baseline(stored: _Object) -> Baseline:
    sigma_ppm = stored["score_sigma_ppm"]
    return Baseline(
        answered=stored.number("answered"),
        allow=stored.number("allow"),
        block=stored.number("block"),
        correlation=_real(stored["correlation"]),
        score_mean_ppm=_real(stored["score_mean_ppm"]),
        score_sigma_ppm=None if sigma_ppm is None else _real(sigma_ppm),
        is_seasonal=stored.truth("is_seasonal"),
        block_level=_real(stored["block_level"]),
        stop_level=_real(stored["stop_level"]),
        doubts=_doubts(stored),
    )


def _doubts(stored: _Object) -> Usual | None:
    """Return what is usual of the model's own escalations; None where it isn't known, as before it was counted."""
    if not stored.has("doubts"):
        return None
    doubt, known, correlation, is_seasonal, times = stored.array("doubts")
    if not isinstance(is_seasonal, bool):
        raise TypeError("is_seasonal is neither true nor false")
    return Usual(_number(doubt), _number(known), _real(correlation), is_seasonal, _real(times))


class _Object:
    """A JSON object whose members are what they are taken for, or TypeError; KeyError where one is missing."""

    def __init__(self, read: object) -> None:
        if not isinstance(read, dict):
            raise TypeError("it is no object")
        self._read: dict[str, object] = read

    def __getitem__(self, name: str) -> object:
        return self._read[name]

    def has(self, name: str) -> bool:
        return self._read.get(name) is not None

    def member(self, name: str) -> _Object:
        return _Object(self[name])

    def array(self, name: str) -> list[object]:
        found = self[name]
        if not isinstance(found, list):
            raise TypeError(f"{name} is no array")
        return found

    def text(self, name: str) -> str:
        return _text(self[name])

    def number(self, name: str) -> int:
        return _number(self[name])

    def truth(self, name: str) -> bool:
        found = self[name]
        if not isinstance(found, bool):
            raise TypeError(f"{name} is neither true nor false")
        return found

    def numbers(self, name: str) -> dict[int, int]:
        """Return an object whose names are whole numbers, too."""
        return {int(key): _number(value) for key, value in self.member(name).entries()}

    def entries(self) -> Iterable[tuple[str, object]]:
        return self._read.items()


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise TypeError("a text is none")
    return found


def _number(found: object) -> int:
    if not isinstance(found, int) or isinstance(found, bool):
        raise TypeError("a whole number is none")
    return found


def _optional(baseline: Baseline | None) -> dict[str, object] | None:
    return None if baseline is None else baseline._asdict()


def _lineage(text: str) -> Lineage:
    writes = tuple(text.split())
    for write in writes:
        int(write.partition("-")[0])
    return Lineage(writes)


def _member(text: str) -> tuple[str, int]:
    hour_ms, _, scope = text.partition("|")
    return scope, int(hour_ms)


def _real(found: object) -> float:
    """A statistic; JSON writes one that is whole as an integer where Python had one."""
    return found if isinstance(found, float) else _number(found)
