"""The blast radius of a rollback plan: added up a line at a time, and as it is stored with the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.domain.decision import Outcome
from pipeline.rollback.reversal import CHANGING, Disposition, PlanLine


class Share(NamedTuple):
    """Some of a plan's decisions: how many, of how many customers, and their amounts by currency in minor units."""

    decisions: int
    customers: int
    amount_minor: Mapping[str, int]


class Change(NamedTuple):
    before: Outcome
    after: Outcome


class BlastRadius(NamedTuple):
    """`held_funds` and `open_reviews` are shares of `changing`; what has no decision has no entry."""

    selected: Share
    changing: Share
    held_funds: Share
    open_reviews: Share
    by_disposition: Mapping[Disposition, Share]
    by_change: Mapping[Change, Share]


@dataclass(slots=True)
class _Sum:
    decisions: int = 0
    accounts: set[str] = field(default_factory=set)
    amount_minor: dict[str, int] = field(default_factory=dict)

    def add(self, line: PlanLine) -> None:
        self.decisions += 1
        self.accounts.add(line.account_id)
        self.amount_minor[line.currency] = self.amount_minor.get(line.currency, 0) + line.amount_minor

    def share(self) -> Share:
        return Share(self.decisions, len(self.accounts), dict(sorted(self.amount_minor.items())))


class Adding:
    """Adds a plan's lines up; `radius` is what they have come to."""

    def __init__(self) -> None:
        self._selected, self._changing, self._held, self._in_review = _Sum(), _Sum(), _Sum(), _Sum()
        self._by_disposition: dict[Disposition, _Sum] = {}
        self._by_change: dict[Change, _Sum] = {}

    def add(self, line: PlanLine) -> None:
        self._selected.add(line)
        self._by_disposition.setdefault(line.disposition, _Sum()).add(line)
        if line.disposition not in CHANGING:
            return
        assert line.before is not None, "what changes is in force"
        assert line.after is not None, "what changes was decided again"
        self._changing.add(line)
        self._by_change.setdefault(Change(line.before, line.after), _Sum()).add(line)
        if line.is_held:
            self._held.add(line)
        if line.is_in_review:
            self._in_review.add(line)

    def radius(self) -> BlastRadius:
        by_disposition, by_change = self._by_disposition, self._by_change
        return BlastRadius(
            self._selected.share(),
            self._changing.share(),
            self._held.share(),
            self._in_review.share(),
            {each: by_disposition[each].share() for each in Disposition if each in by_disposition},
            {change: total.share() for change, total in sorted(by_change.items())},
        )


def radius_of_lines(lines: Iterable[PlanLine]) -> BlastRadius:
    adding = Adding()
    for line in lines:
        adding.add(line)
    return adding.radius()


def radius_json(radius: BlastRadius) -> dict[str, object]:
    return {
        "selected": radius.selected._asdict(),
        "changing": radius.changing._asdict(),
        "held_funds": radius.held_funds._asdict(),
        "open_reviews": radius.open_reviews._asdict(),
        "by_disposition": {each.value: share._asdict() for each, share in radius.by_disposition.items()},
        "by_change": {f"{before}->{after}": share._asdict() for (before, after), share in radius.by_change.items()},
    }


def radius_of(read: object) -> BlastRadius:
    """From what `radius_json` gave. Raises ValueError where it is anything else."""
    fields = _mapping(read)
    by_disposition, by_change = _mapping(fields.get("by_disposition")), _mapping(fields.get("by_change"))
    return BlastRadius(
        selected=_share(fields.get("selected")),
        changing=_share(fields.get("changing")),
        held_funds=_share(fields.get("held_funds")),
        open_reviews=_share(fields.get("open_reviews")),
        by_disposition={Disposition(name): _share(share) for name, share in by_disposition.items()},
        by_change={_change(name): _share(share) for name, share in by_change.items()},
    )


def _change(name: str) -> Change:
    before, _, after = name.partition("->")
    return Change(Outcome(before), Outcome(after))


def _share(read: object) -> Share:
    fields = _mapping(read)
    amounts = {currency: _number(minor) for currency, minor in _mapping(fields.get("amount_minor")).items()}
    return Share(_number(fields.get("decisions")), _number(fields.get("customers")), amounts)


def _mapping(read: object) -> dict[str, object]:
    if not isinstance(read, dict):
        raise ValueError("the stored blast radius is no blast radius")
    return read


def _number(read: object) -> int:
    if not isinstance(read, int) or isinstance(read, bool):
        raise ValueError("the stored blast radius has no whole number where one belongs")
    return read
