"""An explanation as JSON: the decision as it stands on its topic, and its life."""

from __future__ import annotations

from pipeline.audit.head import head_hash
from pipeline.domain.decision import Decision
from pipeline.domain.money import money_text
from pipeline.domain.plain import plain, plain_record
from pipeline.domain.times import utc_text
from pipeline.explain.counterfactual.words import otherwise_json
from pipeline.explain.explanation import Explanation, ModelAccount
from pipeline.explain.guardrails import Guardrail
from pipeline.explain.life import Audited, Life, NotShown, OtherDecision
from pipeline.explain.timeline import Moment
from pipeline.explain.whole import Whole
from pipeline.replay.regimes import Missing


def whole_json(told: Whole) -> dict[str, object]:
    return {
        **explanation_json(told.explained),
        "origin": told.origin,
        "trace": told.trace._asdict(),
        "in_short": list(told.sentences),
        "customer": {"missing": told.customer.why} if isinstance(told.customer, Missing) else told.customer,
        "timeline": [moment_json(moment) for moment in told.timeline],
        "life": {"missing": told.life.why} if isinstance(told.life, NotShown) else _life_json(told.life),
    }


def explanation_json(explained: Explanation) -> dict[str, object]:
    model, guardrails = explained.model, explained.guardrails
    return {
        **plain_record(explained.decision),
        "partition": explained.partition,
        "offset": explained.offset,
        "why_route": explained.why_route,
        "facts": {fact.name: fact.fact for fact in explained.features},
        "guardrails": (
            {"missing": guardrails.why} if isinstance(guardrails, Missing) else list(map(guardrail_json, guardrails))
        ),
        "otherwise": otherwise_json(explained.decision, explained.otherwise),
        "model": {"missing": model.why} if isinstance(model, Missing) else _model_json(model),
        "verified": {
            "result": explained.check.result,
            "differing": list(explained.check.differing),
            "why": explained.check.why,
        },
    }


def guardrail_json(guardrail: Guardrail) -> dict[str, object]:
    return {**guardrail._asdict(), "conditions": [condition._asdict() for condition in guardrail.conditions]}


def moment_json(moment: Moment) -> dict[str, object]:
    money = moment.money
    amount = None if money is None else money_text(money.amount_minor, money.currency)
    return {
        "at": utc_text(moment.at_ms),
        "at_ms": moment.at_ms,
        "kind": moment.kind,
        "what": moment.what,
        "by": moment.by,
        "where": moment.where,
        "money": None if money is None else {**money._asdict(), "amount": amount},
    }


def audited_json(audited: Audited) -> dict[str, object]:
    row, position, cover = audited.row, audited.position, audited.cover
    return {
        "record": type(audited.content).__name__,
        "partition": row.partition,
        "offset": row.offset,
        "recorded_at": utc_text(row.recorded_at_us // 1000),
        "position": None if position is None else position._asdict(),
        "leaf_hash": row.leaf.hex(),
        "chain_hash": row.chain.hex(),
        "is_leaf_sound": audited.is_leaf_sound,
        "is_in_leaf_file": audited.is_in_file,
        "signed_head": None
        if cover is None
        else {**plain(cover.head._asdict()), "key_id": cover.key_id, "head_hash": head_hash(cover.head).hex()},
    }


def _life_json(life: Life) -> dict[str, object]:
    rows = life.rows
    return {
        "state": life.state,
        "audit": list(map(audited_json, life.audited)),
        "records": [plain_record(each.content) for each in life.audited if not isinstance(each.content, Decision)],
        "cases": [row._asdict() for row in rows.cases],
        "execution": None if rows.execution is None else rows.execution._asdict(),
        "causes": [row._asdict() for row in rows.causes],
        "steps": [row._asdict() for row in rows.steps],
        "postings": [{**row._asdict(), "amount": money_text(row.amount_minor, row.currency)} for row in rows.postings],
        "plans": [row._asdict() for row in rows.plans],
        "released_as": _other_json(rows.released_as),
        "released_from": _other_json(rows.released_from),
    }


def _other_json(other: OtherDecision | None) -> dict[str, object] | None:
    return None if other is None else other._asdict()


def _model_json(model: ModelAccount) -> dict[str, object]:
    return {
        "intercept_micro": model.intercept_micro,
        "terms": [
            {"features": share.features, "contribution_micro": share.contribution_micro, "fact": share.fact}
            for share in model.shares
        ],
        "score_micro": model.score_micro,
        "is_recorded_score": model.is_recorded_score,
    }
