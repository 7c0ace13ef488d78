"""The three forms say the same, are the same bytes each time, hold their schema, and run nothing that a fact holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from markdown_it import MarkdownIt

from models.artefact.strict import Json, ModelRefused
from models.card.cards import Cards, cards, facts_of_artefact
from models.card.content.blocks import Figure, Link, Paragraph, Table
from models.card.content.regulations import annex_iv, sr_26_2, ss1_23
from models.card.content.sections import sections
from models.card.facts import CardFacts, Check
from models.card.facts_json import facts_text, read_facts
from models.card.forms.cyclonedx import facts_of
from models.card.forms.markdown import slug
from models.card.measuring.measured import Attributes
from models.card.words import percent
from tests.models.card.given import HOSTILE, SEEN, USUAL, facts, payments, small_model, with_registry

USUAL_FACTS = facts()
HOSTILE_FACTS = replace(
    facts([Attributes(HOSTILE, HOSTILE, ((HOSTILE, HOSTILE),)), *USUAL], version=HOSTILE, source=HOSTILE),
    limits=HOSTILE,
    metrics={HOSTILE: 1},
    checks=(Check(HOSTILE, False, 1, (HOSTILE,), {HOSTILE: HOSTILE}),),
    signature=HOSTILE,
)
EXTREMES = {
    "usual": USUAL_FACTS,
    "with what the registry says": with_registry(USUAL_FACTS),
    "no segment": facts([]),
    "one segment of one value": facts([Attributes("CARD", "", (("age_band", "65+"),))]),
    "one payment": facts(features=payments(1)),
    "nothing measured": facts_of_artefact(small_model(), {"features": list(SEEN), "training": {}, "metrics": {}}),
    "no check and no approval": replace(USUAL_FACTS, checks=(), approvals=()),
    "hostile": HOSTILE_FACTS,
}


@pytest.fixture(params=list(EXTREMES.values()), ids=list(EXTREMES))
def given(request: pytest.FixtureRequest) -> CardFacts:
    found: CardFacts = request.param
    return found


def model_card(made: Cards) -> dict[str, Any]:
    card: dict[str, Any] = json.loads(made.cyclonedx)["components"][0]["modelCard"]
    return card


def test_the_document_is_valid_cyclonedx_1_7(given: CardFacts) -> None:
    text = cards(given).cyclonedx.decode()
    assert json.loads(text)["specVersion"] == "1.7"
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(text) is None


def test_the_schema_would_find_a_fault() -> None:
    card = json.loads(cards(USUAL_FACTS).cyclonedx)
    card["components"][0]["modelCard"]["free"] = 1
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(json.dumps(card)) is not None


def test_the_same_facts_give_the_same_bytes_and_others_another_serial_number(given: CardFacts) -> None:
    made = cards(given)
    assert made == cards(read_facts(facts_text(given)))
    serials = {json.loads(cards(each).cyclonedx)["serialNumber"] for each in (given, replace(given, version="other"))}
    assert len(serials) == 2


def test_facts_survive_the_document(given: CardFacts) -> None:
    assert facts_of(cards(given).cyclonedx) == given


@pytest.mark.parametrize(
    ("old", "new"),
    [('"version":"small-1"', '"version":1'), ('"digest":null', '"digest":1'), ('"limits":', '"limit":'), ("{", "[")],
)
def test_facts_that_are_none_are_refused(old: str, new: str) -> None:
    text = facts_text(USUAL_FACTS)
    assert old in text
    with pytest.raises(ModelRefused):
        read_facts(text.replace(old, new, 1))


def test_every_figure_of_the_document_stands_in_text_and_page() -> None:
    made = cards(USUAL_FACTS)
    texts = made.markdown.decode(), made.html.decode().replace("&nbsp;", " ")
    metrics = [each for each in model_card(made)["quantitativeAnalysis"]["performanceMetrics"] if "slice" not in each]
    shown = 0
    for metric in metrics:
        ends = metric.get("confidenceInterval")
        if ends is None:
            continue
        value, low, high = (
            round(float(end) * 1e6) for end in (metric["value"], ends["lowerBound"], ends["upperBound"])
        )
        words = f"{percent(value)} ({percent(low).removesuffix(' %')} to {percent(high)})"
        assert all(words in text for text in texts), metric
        shown += 1
    assert shown == 5


def test_every_cell_of_the_text_stands_in_the_page() -> None:
    made = cards(with_registry(USUAL_FACTS))
    page = text_of(made.html.decode()).replace("\xa0", " ")
    rows = [line for line in made.markdown.decode().splitlines() if line.startswith("| ")]
    assert len(rows) > 150
    for row in rows:
        for cell in row.strip("|").split(" | "):
            plain = re.sub(r"\\(.)", r"\1", re.sub(r"\[([^\]]*)\]\(#[^)]*\)", r"\1", cell)).strip().strip("`")
            for word in plain.split("` and `"):
                assert word.replace("`", "") in page, row


def test_every_feature_and_the_strongest_pairs_have_a_drawing_in_page_and_document(given: CardFacts) -> None:
    made = cards(given)
    drawn = {each["name"] for each in model_card(made)["quantitativeAnalysis"]["graphics"]["collection"]}
    assert {f"shape of {name}" for name in given.features} <= drawn
    assert "shape of amount_gbp_minor and is_new_beneficiary" in drawn
    assert made.html.decode().count("<svg ") == sum(isinstance(block, Figure) for block in blocks(given))


def test_every_drawing_is_well_formed_and_stands_alone(given: CardFacts) -> None:
    for block in blocks(given):
        if isinstance(block, Figure):
            root = ElementTree.fromstring(block.svg)
            tags = {element.tag.rpartition("}")[2] for element in root.iter()}
            assert tags <= {"svg", "line", "path", "rect", "circle", "text"}
            assert not {name for element in root.iter() for name in element.attrib} & {"href", "onload", "style"}
            assert not re.search(r'"[^"]*\b(nan|inf)\b[^"]*"', block.svg)


class Tags(HTMLParser):
    """The tags of a page, its attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


def text_of(html: str) -> str:
    return "".join(parsed(html).text)


def test_no_page_holds_a_script_or_loads_anything(given: CardFacts) -> None:
    found = parsed(cards(given).html.decode())
    assert not {"script", "iframe", "img", "link", "object", "form", "base"} & set(found.tags)
    for name, value in found.attributes:
        assert not name.startswith("on")
        assert name != "src"
        assert name != "href" or (value or "").startswith("#")


def test_a_hostile_fact_adds_no_element_to_the_page() -> None:
    tame = replace(HOSTILE_FACTS, version="v", source="s", limits="l", signature="s")
    assert sorted(parsed(cards(HOSTILE_FACTS).html.decode()).tags) == sorted(parsed(cards(tame).html.decode()).tags)


def test_a_hostile_fact_is_text_in_markdown() -> None:
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(cards(HOSTILE_FACTS).markdown.decode())
    found = parsed(html)
    expected = {"h1", "h2", "h3", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code", "a"}
    assert set(found.tags) <= expected
    assert found.tags.count("h1") == 1
    assert all((value or "").startswith("#") for name, value in found.attributes if name == "href")
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    assert {len(re.findall(r"<t[dh]", row)) for row in rows} <= {2, 3, 4, 5, 6, 7}
    assert "<script>alert(1)</script>" in "".join(found.text)


def test_text_that_turns_around_is_shown_and_not_heeded() -> None:
    made = cards(HOSTILE_FACTS)
    assert all("\u202e" not in form.decode() for form in made)
    assert "<U+202E>" in text_of(made.html.decode())


def test_every_link_leads_to_a_section(given: CardFacts) -> None:
    made = cards(given)
    anchors = {section.anchor for section in sections(given)}
    titles = {slug(section.title) for section in sections(given)}
    links = [part for block in blocks(given) for part in inlines(block) if isinstance(part, Link)]
    assert {link.anchor for link in links} <= anchors
    assert set(re.findall(r"\]\(#([^)]*)\)", made.markdown.decode())) <= titles


def blocks(given: CardFacts) -> list[Any]:
    return [block for section in sections(given) for block in section.blocks]


def inlines(block: Any) -> Iterator[Any]:
    if isinstance(block, Paragraph):
        yield from block.text
    if isinstance(block, Table):
        yield from (part for row in block.rows for cell in row for part in cell)


def test_the_nine_headings_of_annex_iv_are_answered_or_named_as_the_deployers(given: CardFacts) -> None:
    answers = annex_iv(given)
    assert [each.reference for each in answers] == [str(number) for number in range(1, 10)]
    assert all(each.words.strip() and each.by for each in (*answers, *ss1_23(given), *sr_26_2(given)))


def test_the_principles_of_ss1_23_are_all_there() -> None:
    parts = {1: 3, 2: 6, 3: 6, 4: 5, 5: 3}
    expected = [f"{principle}.{part}" for principle, count in parts.items() for part in range(1, count + 1)]
    assert [each.reference for each in ss1_23(USUAL_FACTS)] == expected


def test_what_is_not_known_is_said() -> None:
    made = cards(EXTREMES["nothing measured"])
    for form in made[:2]:
        text = form.decode()
        assert "Nothing was measured for this card" in text
        assert "Its failures aren't known" in text or "Its failures aren&#x27;t known" in text
    assert "before any check ran" in cards(USUAL_FACTS).markdown.decode()
    assert "missing: nothing is known of it" in cards(EXTREMES["no check and no approval"]).markdown.decode()


def test_a_check_that_failed_stands_where_the_model_fails() -> None:
    text = cards(with_registry(USUAL_FACTS)).markdown.decode()
    failing = text.partition("## Where it fails")[2].partition("\n## ")[0]
    assert "The check red-team failed: card testing got through." in failing
    assert "£12.34" in text
    assert "Nobody has approved it as COMPLIANCE." in text
    limitations = model_card(cards(with_registry(USUAL_FACTS)))["considerations"]["technicalLimitations"]
    assert "The check red-team failed: card testing got through." in limitations


def test_runs_that_failed_before_one_passed_stand_on_the_card() -> None:
    """Whoever approves answers for them, and reads the card."""
    runs = [
        Check("bias", False, 1, ("SW meets BLOCK twice as often",), {}),
        Check("bias", False, 3, ("SW meets BLOCK thrice as often",), {}),
        Check("bias", True, 5, (), {}),
        Check("latency", False, 2, ("it is slow",), {}),
    ]
    made = cards(replace(USUAL_FACTS, checks=tuple(runs)))
    text = made.markdown.decode()
    assert "| bias | passed, and 2 runs before it failed |" in text
    assert "| latency | failed |" in text
    failed = text.partition("Runs that failed before")[2]
    assert failed.index("twice as often") < failed.index("thrice as often")
    assert "twice as often" in made.html.decode()
    assert "Runs that failed before" not in cards(replace(USUAL_FACTS, checks=tuple(runs[2:]))).markdown.decode()


def test_attacks_stand_in_a_table_with_what_the_cheapest_plan_costs() -> None:
    side: dict[str, Json] = {"evaded_ppm": 250_000, "evaded_low_ppm": 140_000, "evaded_high_ppm": 400_000}
    figures: dict[str, Json] = {
        "attacks": {"card-testing": {"after": {**side, "cheapest": {"cost_minor": 1250, "through_minor": 90000}}}}
    }
    text = cards(replace(USUAL_FACTS, checks=(Check("red-team", True, 1, (), figures),))).markdown.decode()
    assert "| card-testing | 25.00 % (14.00 to 40.00 %) | not known | £12.50 | £900.00 |" in text


@pytest.mark.parametrize("text", ["- a", "1. a", "2) a", "---", "===", "+ a", "   # a", "\t- a"])
def test_no_limit_begins_a_list_or_a_heading(text: str) -> None:
    made = cards(replace(USUAL_FACTS, limits=text)).markdown.decode()
    plain = cards(replace(USUAL_FACTS, limits="a")).markdown.decode()
    render = MarkdownIt("commonmark").enable("table").render
    assert parsed(render(made)).tags == parsed(render(plain)).tags


@pytest.mark.parametrize(
    ("choosing", "said"),
    [
        (None, "Which features it sees was given to its training"),
        ("walk-forward", "Which features it sees was given to its training"),
        ({"kind": "given"}, "Which features it sees was given to its training"),
        ({"features": {"kind": "walk-forward"}}, "in a form that this card doesn't understand"),
        ({"features": {"kind": "walk-forward", "groups": {}, "sets": [], "chosen": 0}}, "doesn't understand"),
        ({"features": {"kind": "walk-forward", "groups": {}, "sets": [{}], "chosen": -1}}, "doesn't understand"),
        ({"features": {"kind": "walk-forward", "groups": {}, "sets": [[]], "chosen": 0}}, "doesn't understand"),
        (
            {"features": {"kind": "walk-forward", "groups": {"a": 1}, "sets": [{}], "chosen": 0}},
            "It leaves out a (none).",
        ),
    ],
)
def test_a_choice_of_features_that_is_not_recorded_or_odd_is_not_guessed_at(choosing: Json, said: str) -> None:
    text = cards(replace(USUAL_FACTS, training={"choosing": choosing})).markdown.decode()
    assert said in text


def test_a_card_shows_each_set_of_features_that_was_tried() -> None:
    sets: Json = [
        {"groups": [], "average_precision_ppm": [500_000, 600_000], "mean_ppm": 550_000, "behind_best_ppm": 20_000,
         "noise_ppm": 15_000},
        {"groups": ["runs"], "average_precision_ppm": [530_000, 610_000], "mean_ppm": 570_000, "behind_best_ppm": 0,
         "noise_ppm": None},
    ]  # fmt: skip
    features: Json = {
        "kind": "walk-forward", "groups": {"runs": ["a_run"]}, "sets": sets, "chosen": 0
    }  # fmt: skip
    text = cards(replace(USUAL_FACTS, training={"choosing": {"features": features}})).markdown.decode()
    assert "It leaves out runs (`a_run`)." in text
    assert "no more than may be noise" in text
    assert "| none, chosen | 50.00 %, 60.00 % | 55.00 % | 2.00 % | 1.50 % |" in text
    assert "| runs | 53.00 %, 61.00 % | 57.00 % | 0.00 % | not known |" in text
    assert "choosing.features" not in text


def test_a_long_record_of_training_is_cut_and_said_to_be() -> None:
    training: dict[str, Json] = {
        "choosing": {f"t{at:04}": at for at in range(1_000)},
        "reference": {"features": {"a": [1]}},
    }
    text = cards(replace(USUAL_FACTS, training=training)).markdown.decode()
    assert "920, in the manifest" in text
    assert "choosing.t0079" in text
    assert "choosing.t0080" not in text
    assert "reference" not in text.partition("## How good it is")[0].partition("## What it learned from")[2]
