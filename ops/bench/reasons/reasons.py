"""No reason is of the kinds that were seen once, over the project's own traffic and the Fraud Detection Handbook's.

400,000 payments are decided in this process by the worker's own path, and every decision is held against each check of
`ops.bench.reasons.checks`. Of those that did not allow, a stated sample is asked for its counterfactual, and each that
is told is decided again. Last, the CPU time that a decision's words take.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from models.artefact.asking import ask
from models.artefact.scoring import Scores, score
from ops.bench.reasons.checks import CHECKS, Seen, rules_by_code
from ops.bench.reasons.deciding import Deciding
from ops.bench.reasons.streams import FULL, QUICK, Sizes, Stream, generated, handbook, policy
from ops.bench.reasons.turning import Turned, turned
from pipeline.decide.feeds.feed_files import shipped_feeds
from pipeline.decide.phrase_books.money import foreign_money
from pipeline.decide.policy_rules import PolicyRule
from pipeline.decide.rules import hits_of
from pipeline.decide.verdict import Mode, Regime, decide, regime
from pipeline.domain.decision import BreakerState, Decision, Outcome
from pipeline.domain.features import NONE, Matrix
from pipeline.replay.customer import customer_text
from pipeline.replay.regimes import Missing

EXAMPLES: Final = 3
"""Of each kind of fault that are told."""
TOGETHER: Final = 512
TIMED: Final = 20_000
TRIES: Final = 3
SAY_EVERY: Final = 50_000
_CLOSED: Final = Mode(BreakerState.CLOSED, "all", True)


def run(
    say: Callable[[str], None], folder: Path, *, is_quick: bool, sizes: Mapping[str, int] = MappingProxyType({})
) -> dict[str, object]:
    chosen = (QUICK if is_quick else FULL)._replace(**sizes)
    found = [_stream(say, stream, chosen) for stream in (generated(chosen), handbook(chosen, folder, say))]
    return {**dict(found), "ok": all(each["ok"] for _, each in found)}


def _stream(say: Callable[[str], None], stream: Stream, sizes: Sizes) -> tuple[str, dict[str, object]]:
    in_force = regime(policy(), stream.model, shipped_feeds())
    deciding = Deciding(in_force)
    deciding.warm(stream.warm)
    say(f"{stream.name}: deciding on {sizes.decisions:,} payments")
    faults: dict[str, list[str]] = {name: [] for name in CHECKS}
    counts: Counter[str] = Counter()
    routes: Counter[str] = Counter()
    sample: list[Decision] = []
    timed: list[Decision] = []
    for part in _parts(deciding.decisions(stream.decided), TOGETHER):
        _check(part, in_force, faults, counts)
        routes.update(f"{each.outcome}/{each.route}" for each in part)
        sample.extend(each for each in part if each.outcome is not Outcome.ALLOW)
        timed.extend(part[: TIMED - len(timed)])
        if routes.total() // SAY_EVERY > (routes.total() - len(part)) // SAY_EVERY:
            say(f"{stream.name}: {routes.total():,} decided, faults: {dict(counts)}")
    say(f"{stream.name}: {len(sample):,} did not allow; asking {min(len(sample), sizes.counterfactuals):,} of them")
    told = turned(_spread(sample, sizes.counterfactuals), in_force, sizes.counterfactual_s)
    return stream.name, {
        "decisions": routes.total(),
        "set_aside": deciding.set_aside,
        "outcomes": dict(sorted(routes.items())),
        "faults": {name: counts[name] for name in CHECKS},
        "examples": {name: texts for name, texts in faults.items() if texts},
        "counterfactuals": _told(told, len(sample)),
        **_cpu(timed, in_force),
        "ok": not counts and not told.wrong and routes.total() + deciding.set_aside == sizes.decisions,
    }


def _parts(decisions: Iterable[Decision], size: int) -> Iterator[list[Decision]]:
    left = iter(decisions)
    while part := list(islice(left, size)):
        yield part


def _check(decisions: Sequence[Decision], in_force: Regime, faults: dict[str, list[str]], counts: Counter[str]) -> None:
    """Counts the decisions with a fault of each kind, and keeps the first faults."""
    for seen in _seen(decisions, in_force, rules_by_code(in_force)):
        for name, check in CHECKS.items():
            found = list(check(seen))
            counts.update([name] if found else [])
            faults[name].extend(found[: EXAMPLES - len(faults[name])])


def _seen(decisions: Sequence[Decision], in_force: Regime, rules: Mapping[str, PolicyRule]) -> Iterator[Seen]:
    answered = [place for place, each in enumerate(decisions) if each.fraud_probability_ppm != NONE]
    scores: dict[int, Scores] = {}
    if answered and in_force.model is not None:
        found = score(in_force.model, _rows([decisions[place] for place in answered]))
        scores = {place: Scores(*(part[n : n + 1] for part in found)) for n, place in enumerate(answered)}
    for place, decision in enumerate(decisions):
        yield Seen(decision, in_force, rules, scores.get(place), _customer(decision, in_force))


def _customer(decision: Decision, in_force: Regime) -> str | None:
    text = customer_text(decision, lambda _: in_force)
    return None if isinstance(text, Missing) else text


def _rows(decisions: Sequence[Decision]) -> Matrix:
    return np.array([each.snapshot.features for each in decisions], dtype=np.int64)


def _spread(sample: list[Decision], most: int) -> list[Decision]:
    """At most so many, from all of the stream."""
    if len(sample) <= most:
        return sample
    return [sample[place * len(sample) // most] for place in range(most)]


def _told(told: Turned, did_not_allow: int) -> dict[str, object]:
    return {
        "did_not_allow": did_not_allow,
        "looked_at": told.looked_at,
        "kinds": dict(sorted(told.kinds.items())),
        "wrong": told.wrong[:EXAMPLES],
        "wrong_count": len(told.wrong),
        "cpu_ms_median": told.ms[len(told.ms) // 2] if told.ms else 0,
        "cpu_ms_p99": told.ms[len(told.ms) * 99 // 100] if told.ms else 0,
        "cpu_ms_max": told.ms[-1] if told.ms else 0,
        "examples": told.examples,
    }


def _cpu(decisions: Sequence[Decision], in_force: Regime) -> dict[str, object]:
    """Microseconds of CPU a decision: of the verdicts with their words, and of the same rules and scores without."""
    parts = [_rows(part) for part in _parts(decisions, 256)]
    own = [[foreign_money(each.snapshot.transaction) for each in part] for part in _parts(decisions, 256)]
    named = list(zip(parts, own, strict=True))
    verdicts = _least_us(
        lambda: [decide(part, [_CLOSED] * len(part), in_force, own=its) for part, its in named], len(decisions)
    )
    numbers = _least_us(lambda: _numbers(parts, in_force), len(decisions))
    return {
        "verdict_cpu_us": round(verdicts, 2),
        "words_cpu_us": round(verdicts - numbers, 2),
        "is_compiled": not hasattr(decide, "__code__"),
    }


def _numbers(parts: Sequence[Matrix], in_force: Regime) -> None:
    rules = in_force.rules
    for rows in parts:
        hits_of(rules.hard, rows)
        hits_of(rules.fallback, rows)
        if in_force.model is not None:
            ask(in_force.model, rows)
        hits_of(rules.soft, np.column_stack((rows, np.full(len(rows), NONE, dtype=np.int64))))


def _least_us(action: Callable[[], object], count: int) -> float:
    spent = []
    for _ in range(TRIES):
        started = time.process_time_ns()
        action()
        spent.append(time.process_time_ns() - started)
    return min(spent) / max(count, 1) / 1_000
