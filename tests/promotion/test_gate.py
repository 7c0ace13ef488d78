"""The gate of promotions: every reason at once, and nothing unknown ever a pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.versions.evidence import ASKED_KINDS, Recorded
from pipeline.decide.rollout.limits import DAY_MS
from pipeline.promotion.facts import (
    CLOCKS_MS,
    COMPARED_KINDS,
    Approval,
    Facts,
    Found,
    Reviewed,
    Shadow,
    Unread,
)
from pipeline.promotion.gate import APPROVING_ROLES, Reason, refusals
from tests.commands import Fraud
from tests.promotion.given import CHAMPION, DIGEST, FACTS, LIMITS, NOW_MS, SHADOW, found_of

OTHER = "f" * 64
LATEST = Found(DIGEST, NOW_MS, True, is_recorded=True)
TAKEN = Recorded("evidence/glass-2/bias-0123.json", "a" * 64, "bias", False, NOW_MS)
FEW_PAYMENTS = FACTS._replace(
    shadow=SHADOW._replace(payments=9_999, agreed=9_900, strata={"a": Reviewed(99, 99, 99)}, large=Reviewed(9, 9, 9))
)


def _evidence(facts: Facts, kind: str, found: Found | None) -> Facts:
    if isinstance(facts.evidence, Unread):
        return facts
    evidence = {name: each for name, each in facts.evidence.items() if name != kind}
    return facts._replace(evidence=evidence if found is None else {**evidence, kind: found})


def reasons(facts: Facts) -> list[Reason]:
    return [refusal.reason for refusal in refusals(facts)]


def with_shadow(**changed: object) -> Facts:
    return FACTS._replace(shadow=SHADOW._replace(**changed))


def with_evidence(kind: str, found: Found | None) -> Facts:
    return _evidence(FACTS, kind, found)


def with_approvals(*approvals: Approval) -> Facts:
    return FACTS._replace(approvals=approvals)


def approval(name: str, role: str, **changed: object) -> Approval:
    return Approval(name, role, DIGEST, NOW_MS)._replace(**changed)


def test_what_has_shown_everything_may_go_on() -> None:
    assert refusals(FACTS) == []


def test_every_reason_is_told_at_once_and_in_one_order() -> None:
    nothing = Facts(
        "glass-2", Unread("it is gone"), Unread("it is gone"), None, None, None, None, {}, (),
        Unread("it never ran"), (), (), "ann", "no OPERATOR", "a rollout is under way", NOW_MS,
    )  # fmt: skip
    found = refusals(nothing)
    assert [each.reason for each in found] == [
        Reason.POLICY, Reason.PROMOTER, Reason.STANDING, Reason.STANDING, Reason.ARTEFACT,
        *[Reason.EVIDENCE] * len(ASKED_KINDS),
        Reason.SHADOW, *[Reason.APPROVALS] * len(APPROVING_ROLES),
    ]  # fmt: skip
    assert all(each.text.endswith(".") and each.text[0].isupper() for each in found)


@pytest.mark.parametrize(
    ("facts", "reason", "said"),
    [
        (FACTS._replace(limits=None), Reason.POLICY, "no [promotion]"),
        (FACTS._replace(version=CHAMPION), Reason.ARTEFACT, "is the champion already"),
        (with_shadow(days=27), Reason.SHADOW_SPAN, "on 27 days, and must on 28"),
        (with_shadow(until_ms=NOW_MS + 2 * DAY_MS), Reason.SHADOW_SPAN, "a time that has not come"),
        (with_shadow(until_ms=NOW_MS - 31 * DAY_MS), Reason.SHADOW_SPAN, "ended 31 days ago, and counts for 30"),
        (FEW_PAYMENTS, Reason.SHADOW_SAMPLE, "9,999 payments beside the champion of now"),
        (with_shadow(agreed=97_999, stopped_agreed=1_850), Reason.AGREEMENT, "97.99 % (97,999 of 100,000), and must"),
        (with_shadow(stopped_agreed=1_799), Reason.AGREEMENT_STOPPED, "89.95 % (1,799 of 2,000), and must in 90 %"),
        (with_shadow(unanswered=600), Reason.AGREEMENT, "97.91 % (98,500 of 100,600), could not answer 600, and must"),
        (
            with_shadow(unanswered=100, stopped_unanswered=100),
            Reason.AGREEMENT_STOPPED,
            "88.09 % (1,850 of 2,100), could not answer 100, and",
        ),
        (with_shadow(unanswered=1, stopped_unanswered=2), Reason.SHADOW, "more than the whole"),
        (with_shadow(stopped=0, stopped_agreed=0), Reason.AGREEMENT_STOPPED, "it agreed in none, and must in 90 %"),
        (with_shadow(large=Reviewed(100, 99, 99)), Reason.REVIEWS, "99 of 100 disagreements from £1,000.00 on"),
        (with_shadow(large=Reviewed(100, 100, 49)), Reason.VERDICTS, "£1,000.00 on reviews find it right in 49.00 %"),
        (
            FACTS._replace(limits=LIMITS.model_copy(update={"challenger_right_percent": None})),
            Reason.VERDICTS,
            "no challenger_right_percent",
        ),
        (with_shadow(reviews_unproved=1), Reason.REVIEWS, "signed by nobody who may"),
        (with_shadow(doubt="one is false"), Reason.SHADOW, "answered can't be relied upon: one is false."),
        (with_shadow(strata={}), Reason.SHADOW, "not those that there are"),
        (FACTS._replace(champion=Unread("it is gone")), Reason.STANDING, "what decides now: it is gone"),
        (with_evidence("bias", None), Reason.EVIDENCE, "There is no evidence of bias"),
        (FACTS._replace(evidence=Unread("its signature is bad")), Reason.EVIDENCE, "its signature is bad"),
        (with_evidence("latency", LATEST._replace(digest=OTHER)), Reason.EVIDENCE, "another artefact, ffff"),
        (with_evidence("golden", LATEST._replace(passed=False)), Reason.EVIDENCE, "doesn't say why"),
        (
            with_evidence("red-team", found_of("red-team")._replace(passed=False, findings=("a rise.", "b", "c", "d"))),
            Reason.EVIDENCE,
            "a rise; b; c; and 1 more",
        ),
        (with_evidence("golden", LATEST._replace(made_at_ms=NOW_MS - 31 * DAY_MS)), Reason.EVIDENCE, "31 days old"),
        (with_evidence("golden", LATEST._replace(made_at_ms=NOW_MS + CLOCKS_MS + 1)), Reason.EVIDENCE, "has not come"),
        (with_evidence("golden", LATEST._replace(is_recorded=False)), Reason.EVIDENCE, "no record of the evidence"),
        (FACTS._replace(evidence_gone=(TAKEN,)), Reason.EVIDENCE, "did not pass and was filed at 2026"),
        (with_approvals(*FACTS.approvals[1:]), Reason.APPROVALS, "Nobody has approved it as RISK."),
        (FACTS._replace(approvals=Unread("a file is spoilt")), Reason.APPROVALS, "a file is spoilt"),
    ],
)  # fmt: skip
def test_each_shortfall_is_a_reason_of_its_own(facts: Facts, reason: Reason, said: str) -> None:
    [text] = [each.text for each in refusals(facts) if each.reason is reason]
    assert said in text


def test_each_stratum_of_the_rest_needs_its_sample() -> None:
    strata = {"a": Reviewed(1_480, 19, 19), "b": Reviewed(20, 20, 20)}
    assert reasons(with_shadow(strata=strata)) == [Reason.REVIEWS]
    many = {f"s{number}": Reviewed(150, 0, 0) for number in range(10)}
    assert len(refusals(with_shadow(strata=many))) == 6


def test_a_sample_speaks_for_its_whole_stratum() -> None:
    """30 dear disagreements in which it is right don't hide 1,470 cheap ones, of which it is wrong in all 20 seen."""
    strata = {"a": Reviewed(1_470, 20, 0), "b": Reviewed(30, 30, 30)}
    [refusal] = refusals(with_shadow(large=Reviewed(30, 30, 30), strata=strata))
    assert refusal.reason is Reason.VERDICTS
    assert refusal.text.startswith("By the 50 reviews of all strata it is right in 2.00 % of the 1,500 disagreements")
    assert [] == refusals(with_shadow(strata={"a": Reviewed(1_470, 20, 10), "b": Reviewed(30, 30, 15)}))


def test_what_reviews_find_counts_once_there_are_reviews() -> None:
    assert reasons(with_shadow(large=Reviewed(0, 0, 0), strata={"a": Reviewed(1_500, 0, 0)})) == [Reason.REVIEWS]


def test_allowing_everything_is_refused_though_it_agrees_in_98_percent() -> None:
    blind = with_shadow(
        agreed=98_000, stopped=2_000, stopped_agreed=0, strata={"ALLOWED": Reviewed(2_000, 2_000, 2_000)}
    )
    assert reasons(blind) == [Reason.AGREEMENT_STOPPED]


@pytest.mark.parametrize("second", ["rita", "Rita", "r1ta"])
def test_one_person_under_two_roles_is_not_two_people(second: str) -> None:
    """Names that look alike are one person's."""
    facts = with_approvals(approval("rita", "RISK"), approval(second, "COMPLIANCE"), approval("edda", "ENGINEERING"))
    assert [each.text for each in refusals(facts)] == [
        "Three different people must approve it, and one has approved it under more than one role."
    ]


def test_another_approver_makes_three_people_of_two() -> None:
    facts = with_approvals(
        approval("rita", "RISK"), approval("rita", "COMPLIANCE"), approval("cora", "COMPLIANCE"),
        approval("edda", "ENGINEERING"), approval("cora", "ENGINEERING"),
    )  # fmt: skip
    assert refusals(facts) == []


@pytest.mark.parametrize(
    "changed",
    [{"digest": OTHER}, {"at_ms": NOW_MS - 31 * DAY_MS}, {"at_ms": NOW_MS + DAY_MS}],
)
def test_an_approval_that_does_not_count_says_why(changed: dict[str, object]) -> None:
    facts = with_approvals(approval("rita", "RISK", **changed), *FACTS.approvals[1:])
    [text] = [each.text for each in refusals(facts)]
    assert text.startswith("Nobody has approved it as RISK (that of rita doesn't count: ")


def test_approvals_that_count_as_nothing_are_told_where_one_is_missing() -> None:
    void = ("'approvals/glass-2/RISK-1.json' counts as nothing: its key was revoked",)
    assert refusals(FACTS._replace(approvals_void=void)) == []
    facts = FACTS._replace(approvals_void=void, approvals=FACTS.approvals[1:])
    assert "its key was revoked" in [each.text for each in refusals(facts)][-1]


@pytest.mark.parametrize("kind", COMPARED_KINDS)
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"champion": OTHER}, "compares with another champion, ffff"),
        ({"champion": None}, "doesn't say with which champion"),
        ({"policy": OTHER}, "under another policy, ffff"),
        ({"policy": None}, "doesn't say under which policy"),
    ],
)
def test_what_was_compared_with_another_champion_or_policy_is_nothing(
    kind: str, changed: dict[str, object], said: str
) -> None:
    [first, *_] = [each.text for each in refusals(with_evidence(kind, found_of(kind)._replace(**changed)))]
    assert said in first


def test_where_nobody_knows_the_champion_nothing_was_compared_with_it() -> None:
    unknown = FACTS._replace(champion_digest=None, policy=None)
    assert len(refusals(unknown)) == 2 * len(COMPARED_KINDS)


def test_a_seed_is_nothing_without_what_the_database_drew() -> None:
    """Whoever trains could try the seed of each artefact before anybody heard of it."""
    [text] = [each.text for each in refusals(FACTS._replace(drawn=None))]
    assert text.startswith("No seed of a red team was drawn for it")
    [text] = [each.text for each in refusals(FACTS._replace(drawn="f" * 64))]
    assert "seed is not the one that follows" in text


@pytest.mark.parametrize("seed", [None, 20261130])
def test_a_seed_that_somebody_chose_is_refused(seed: int | None) -> None:
    [text] = [each.text for each in refusals(with_evidence("red-team", found_of("red-team")._replace(seed=seed)))]
    assert "seed is not the one that follows" in text


@pytest.mark.parametrize("effort", [None, (120, 39), (16, 40), (121, 40)])
def test_a_red_team_that_tried_less_or_otherwise_is_refused(effort: tuple[int, int] | None) -> None:
    [text] = [each.text for each in refusals(with_evidence("red-team", found_of("red-team")._replace(effort=effort)))]
    assert "must 120 and 40 times" in text


def test_a_policy_that_sets_no_limits_for_the_red_team_promotes_nothing() -> None:
    [text] = [each.text for each in refusals(FACTS._replace(limits=LIMITS.model_copy(update={"red_team": None})))]
    assert "no [promotion.red_team]" in text


@pytest.mark.parametrize("name", ["rita", "Rita", "r1ta"])
def test_whoever_approved_it_does_not_promote_it(name: str) -> None:
    """Else the three who approve would be two, and one of them the one who is on call."""
    [text] = [each.text for each in refusals(FACTS._replace(promoter=name))]
    assert "nobody both approves and promotes" in text
    another = (*FACTS.approvals, approval("rob", "RISK"))
    assert refusals(FACTS._replace(promoter=name, approvals=another)) == []


def test_failed_runs_count_though_a_later_one_passed() -> None:
    """Whoever runs a check again and again until one run passes needs three people who answer for the others."""
    answered = FACTS._replace(approvals=tuple(each._replace(answer="the feed was down") for each in FACTS.approvals))
    facts = _evidence(answered, "bias", found_of("bias")._replace(failed=2))
    assert refusals(facts) == []
    silent = facts._replace(approvals=(facts.approvals[0]._replace(answer=""), *facts.approvals[1:]))
    [text] = [each.text for each in refusals(silent)]
    assert "it answers for no run that failed" in text
    [text] = [each.text for each in refusals(_evidence(facts, "bias", found_of("bias")._replace(failed=3)))]
    assert text == "3 runs of bias failed, and 2 may before one passes."


WORSE: list[Callable[[Facts], Facts]] = [
    lambda facts: facts._replace(limits=None),
    lambda facts: facts._replace(promoter_fault="no OPERATOR"),
    lambda facts: facts._replace(standing_fault="a rollout is under way"),
    lambda facts: facts._replace(digest=Unread("spoilt")),
    lambda facts: facts._replace(champion=Unread("spoilt")),
    lambda facts: facts._replace(shadow=Unread("it never ran")),
    lambda facts: facts._replace(approvals=Unread("spoilt")),
    *[lambda facts, kind=kind: _evidence(facts, kind, None) for kind in ASKED_KINDS],
    lambda facts: facts._replace(evidence=Unread("spoilt")),
    *[lambda facts, kind=kind: _evidence(facts, kind, Found(DIGEST, NOW_MS, False)) for kind in ASKED_KINDS],
    *[lambda facts, kind=kind: _changed(facts, kind, champion=OTHER) for kind in COMPARED_KINDS],
    lambda facts: _changed(facts, "red-team", seed=1),
    lambda facts: facts._replace(drawn=None),
    lambda facts: _changed(facts, "latency", failed=1),
    lambda facts: _changed(facts, "latency", is_recorded=False),
    lambda facts: facts._replace(evidence_gone=(TAKEN,)),
    lambda facts: _shadow(facts, lambda shadow: shadow._replace(unanswered=shadow.unanswered + 1_000)),
    *[lambda facts, role=role: _without(facts, role) for role in APPROVING_ROLES],
    lambda facts: _shadow(facts, lambda shadow: shadow._replace(agreed=shadow.agreed - 501)),
    lambda facts: _shadow(facts, lambda shadow: shadow._replace(stopped_agreed=shadow.stopped_agreed // 2)),
    lambda facts: _shadow(facts, lambda shadow: shadow._replace(days=shadow.days - 2)),
    lambda facts: _shadow(facts, lambda shadow: shadow._replace(reviews_unproved=shadow.reviews_unproved + 1)),
    lambda facts: _shadow(facts, lambda shadow: shadow._replace(doubt="one is false")),
    lambda facts: _shadow(facts, lambda shadow: shadow._replace(large=Reviewed(100, 0, 0))),
    lambda facts: _shadow(facts, lambda shadow: shadow._replace(large=Reviewed(100, 100, 0))),
    lambda facts: facts._replace(now_ms=facts.now_ms + 32 * DAY_MS),
]


def _changed(facts: Facts, kind: str, **changed: object) -> Facts:
    if isinstance(facts.evidence, Unread) or facts.evidence.get(kind) is None:
        return facts
    return _evidence(facts, kind, facts.evidence[kind]._replace(**changed))


def _without(facts: Facts, role: str) -> Facts:
    if isinstance(facts.approvals, Unread):
        return facts
    return facts._replace(approvals=tuple(each for each in facts.approvals if each.role != role))


def _shadow(facts: Facts, change: Callable[[Shadow], Shadow]) -> Facts:
    return facts if isinstance(facts.shadow, Unread) else facts._replace(shadow=change(facts.shadow))


@given(st.lists(st.sampled_from(range(len(WORSE))), min_size=1, max_size=6, unique=True))
def test_worse_facts_never_turn_a_refusal_into_a_pass(changes: list[int]) -> None:
    facts = FACTS
    for change in changes:
        facts = WORSE[change](facts)
        assert refusals(facts), WORSE[change]
        assert refusals(facts) == refusals(facts)


@given(st.integers(0, 120_000), st.integers(0, 120_000), st.integers(0, 3_000), st.integers(0, 3_000))
def test_figures_pass_exactly_where_they_reach_the_limits(payments: int, agreed: int, stopped: int, same: int) -> None:
    facts = with_shadow(
        payments=payments, agreed=agreed, stopped=stopped, stopped_agreed=same,
        large=Reviewed(0, 0, 0), strata={"all": Reviewed(*[max(payments - agreed, 0)] * 3)},
    )  # fmt: skip
    is_possible = agreed <= payments and stopped <= payments and same <= min(stopped, agreed)
    reaches = payments >= 10_000 and agreed >= 0.98 * payments and stopped and same >= 0.9 * stopped
    assert (refusals(facts) == []) == bool(is_possible and reaches)


@pytest.mark.parametrize("kind", ASKED_KINDS)
def test_whoever_lacks_evidence_is_told_the_command_that_files_it(fraud: Fraud, kind: str) -> None:
    """Four of the six kinds come from one command, and nothing said from which."""
    [text] = [each.text for each in refusals(with_evidence(kind, None)) if each.reason is Reason.EVIDENCE]
    command = text.partition("`")[2].partition("`")[0]
    group, verb, version, flag = command.split()[1:5]
    assert (group, version, flag) == ("models", FACTS.version, "--evidence")
    assert "--evidence" in fraud(group, verb, "--help").out
