"""The report of a drill as one HTML page: nothing is loaded from elsewhere, and it prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ops.drills.charts import MEASURE_WORDS, Mark, against_objectives, stacked
from pipeline.domain.money import money_text
from pipeline.web.html import badge, cards, document, escape, table

REGULATION: Final = "Regulation (EU) 2022/2554 (DORA)"
MARKED: Final[Mapping[str, str]] = {
    "the fault begins": "fault",
    "it is seen": "seen",
    "the model is out of the loop": "tripped",
    "on-call is paged": "paged",
    "the fault is mended": "mended",
    "all is well again": "well",
}
"""The moments that the charts show, and how they call them."""
_STYLE: Final = """
<style>
.badge.PASSED, .badge.MET { background: var(--go) }
.badge.FAILED, .badge.NOT_MET { background: var(--stop) }
.badge.NOT_CARRIED_OUT { background: var(--wait) }
.chart { display: block; height: auto; margin: .8rem 0; max-width: 100%; width: 100% }
.chart text { fill: var(--ink); font: 11px system-ui, sans-serif }
.chart .end { text-anchor: end } .chart .middle { text-anchor: middle } .chart .start { text-anchor: start }
.chart .axis { stroke: var(--soft) } .chart .mark { stroke: var(--ink); stroke-dasharray: 3 2 }
.chart .room { fill: var(--tint); stroke: var(--rule) }
.moments td:nth-child(1) { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; width: 7rem }
@media print {
  .chart { break-inside: avoid }
  .chart * { print-color-adjust: exact; -webkit-print-color-adjust: exact }
}
</style>
"""


def page(report: Mapping[str, Any], signed: Mapping[str, Any]) -> str:
    """signed: the report's signature, as it stands beside it."""
    return document(f"Drill {report['drill']}, {report['drill_id']}", _body(report, signed))


def _body(report: Mapping[str, Any], signed: Mapping[str, Any]) -> Iterator[str]:
    yield _STYLE
    yield f"<h1>Drill <code>{escape(report['drill'])}</code> {badge(report['verdict'])}</h1>"
    where = "On the live breaker" if report["is_live"] else "In a lane of its own"
    yield f"<p>{where}, {escape(report['about'])}.</p>"
    yield f"<p class=soft>{escape(report['started_at'])} to {escape(report['ended_at'])}. All times are UTC.</p>"
    if report["why"]:
        said = f"It could not be carried out, so it has neither passed nor failed: {report['why']}."
        yield f'<div class=short><p class="bad">{escape(said)}</p></div>'
    yield from _caveats(report)
    if report["findings"]:
        yield _cards(report)
        yield "<h2>Against the objectives of the policy</h2>"
        yield against_objectives(report["findings"])
        yield table(["", "measured", "at most", "", ""], map(_finding, report["findings"]), (1, 2))
    yield from _looked_for(report)
    yield from _course(report)
    yield "<h2>What was tried, and where</h2><div class=pairs>" + table(["", ""], _facts(report)) + "</div>"
    yield "<h2>As a record of resilience testing</h2>" + _dora(report)
    yield "<h2>Signature</h2>" + _signature(signed)


def _caveats(report: Mapping[str, Any]) -> Iterator[str]:
    if report["is_live"]:
        yield (
            "<div class=short><p>By consent of two people. It shows how the deployment answers a trip; nothing was "
            "wrong, so it can't show that a fault is noticed, and doesn't count towards the schedule.</p></div>"
        )
    elif not report["is_full"]:
        yield (
            "<div class=short><p>A rehearsal: the breaker's windows were shortened. It shows that the parts work "
            "together, not how long they take, and doesn't count towards the schedule.</p></div>"
        )
    elif report["is_embedded"]:
        yield (
            "<div class=short><p>On the embedded broker, which keeps nothing. It proves nothing of a real one, and "
            "doesn't count towards the schedule.</p></div>"
        )


def _cards(report: Mapping[str, Any]) -> str:
    figures = {each["measure"]: each["figure"] for each in report["findings"]}
    shown = [
        (MEASURE_WORDS[name], "not seen" if figure is None else f"{figure:,.1f} s")
        for name, figure in figures.items()
        if name.endswith("_s")
    ]
    if "leaked" not in figures:
        return cards(shown)
    leaked = figures["leaked"]
    return cards([*shown, ("decisions leaked", "not known" if leaked is None else f"{leaked:,}")])


def _looked_for(report: Mapping[str, Any]) -> Iterator[str]:
    """Say what counts as leaked, what else was looked for, and what was found."""
    if not report["is_live"] and report["findings"]:
        yield f"<p class=soft>Leaked is {escape(report['leaked_means'])}.</p>"
        yield "<h2>Looked for besides</h2>" + _listed(report["checked"])
        yield "" if report["faults"] else "<p>It is so: nothing else was found.</p>"
    if report["faults"]:
        yield "<h2>Found besides</h2>" + _listed(report["faults"])


def _listed(sentences: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(each)}" for each in sentences) + "</ul>"


def _finding(finding: Mapping[str, Any]) -> list[str]:
    name = finding["measure"]
    return [
        escape(MEASURE_WORDS[name]),
        _figure(name, finding["figure"], "not seen"),
        _figure(name, finding["objective"], "no objective"),
        badge("MET" if finding["is_met"] else "NOT_MET"),
        escape(finding["why"]),
    ]


def _figure(name: str, figure: Any, missing: str) -> str:
    if figure is None:
        return escape(missing)
    if isinstance(figure, Mapping):
        return "<br>".join(escape(money_text(amount, currency)) for currency, amount in figure.items()) or "nothing"
    return f"{figure:,.1f} s" if name.endswith("_s") and isinstance(figure, float) else _plain(name, figure)


def _plain(name: str, figure: int) -> str:
    return f"{figure:,} s" if name.endswith("_s") else f"{figure:,}"


def _course(report: Mapping[str, Any]) -> Iterator[str]:
    if not report["samples"]:
        return
    marks = [Mark(each["second"], MARKED[each["what"]]) for each in report["moments"] if each["what"] in MARKED]
    yield "<h2>Decisions a second, by outcome</h2>"
    yield stacked(report["samples"], ("allow", "escalate", "block"), marks, "Decisions a second by outcome")
    yield "<h2>Decisions a second, by who answered</h2>"
    yield stacked(report["samples"], ("by_model", "by_fallback"), marks, "Decisions a second by who answered")
    yield "<h2>Moments</h2><div class=moments>"
    yield table(
        ["after the fault", ""], ([f"{each['second']:.1f} s", escape(each["what"])] for each in report["moments"])
    )
    yield "</div>"


def _facts(report: Mapping[str, Any]) -> Iterator[list[str]]:
    yield ["Where", escape(report["where"])]
    yield ["Carried out by", escape(report["carried_out_by"])]
    yield ["Policy", f"{escape(report['policy']['version'])} <code>{escape(report['policy']['sha256'])}</code>"]
    yield ["Model", escape(report["model"])]
    yield ["Release", escape(report["release"])]
    if report["is_live"]:
        yield from _live_facts(report)
    else:
        yield ["Traffic", f"{report['payments_per_second']:,} payments a second, seed {report['seed']}"]
        if answered := report["decided_by_version"]:
            said = ", ".join(f"{version} {count:,}" for version, count in answered.items())
            yield ["Decided by the model", escape(said)]
        if changed := report["breaker_in_place_of_policy"]:
            said = ", ".join(f"{name} {_setting(value)}" for name, value in changed.items())
            yield ["Breaker, in place of the policy", escape(said)]
    if report["records"] is not None:
        aside = report["records"]["set_aside"]
        said = ", ".join(f"{code} {count:,}" for code, count in sorted(aside.items())) or "none"
        yield ["Records", f"{report['records']['published']:,} published, {report['records']['decisions']:,} decided"]
        yield ["Set aside", escape(said)]
    yield ["Due", f"every {report['due_every_days']} days"]


def _setting(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else f"{value:,}"


def _live_facts(report: Mapping[str, Any]) -> Iterator[list[str]]:
    """Say what was consented to, and what the fallback's rules decided because of it."""
    yield ["Traffic", "the deployment's own"]
    if (live := report["live"]) is None:
        return
    consent = live["consent"]
    yield ["Scope", escape(consent["scope"])]
    yield ["Out of the loop", f"{consent['open_s']:,} seconds"]
    yield ["Reason", escape(consent["reason"])]
    yield ["Pages", escape(consent["pages"])]
    yield ["Decisions that name it", f"{live['decided_by_it']:,}"]
    yield ["By fallback rules", _figure("leaked_minor", live["decided_by_fallback_minor"], "nothing")]


def _dora(report: Mapping[str, Any]) -> str:
    """Say what such a record is good for, and what it can't show."""
    remedied = (
        "Its findings are to be prioritised, classified and remedied by the entity's own procedures (Article 24(5))."
        if report["verdict"] == "FAILED"
        else ""
    )
    return (
        f"<p>{escape(REGULATION)}, Article 24, asks for a programme of digital operational resilience testing, and "
        "Article 25(1) names scenario-based tests among its tests. This page is the record of one: the scenario, what "
        "was expected, what was measured, and by which release, policy and model. "
        f"{remedied}</p><p class=soft>It can't show that whoever carried it out was independent (Article 24(4)), which "
        "functions of the entity are critical or important, or that the programme as a whole is complete. Those stay "
        "with people.</p>"
    )


def _signature(signed: Mapping[str, Any]) -> str:
    facts = (
        ["SHA-256 of the JSON report", f"<code>{escape(str(signed['sha256']))}</code>"],
        ["Key", f"<code>{escape(str(signed['key_id']))}</code>"],
        ["Ed25519 signature", f"<code>{escape(str(signed['signature']))}</code>"],
    )
    return (
        "<div class=pairs>"
        + table(["", ""], facts)
        + "</div><p class=soft>The JSON report is what is signed, and this "
        "page is made of it. <code>fraud drills verify</code> proves it.</p>"
    )
