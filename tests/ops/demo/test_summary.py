"""A demonstration that didn't show everything says what is missing: its exit code alone tells nobody."""

from __future__ import annotations

import json

import pytest

from ops.demo.aftermath import Aftermath
from ops.demo.audit import Verified
from ops.demo.books import Accounted
from ops.demo.meter import Snapshot
from ops.demo.past import NO_PAST
from ops.demo.summary import Summary, show_summary
from pipeline.io.settings import Settings
from pipeline.replay.archive_files import RegimeArchive

DECISIONS = 30


def never_wrong(published: int = DECISIONS, findings: int = 0) -> Summary:
    """A run in which the breaker had tripped before the model was to go wrong."""
    counts = Snapshot(DECISIONS, {"ALLOW": DECISIONS}, {"MODEL": DECISIONS}, 0, 0, 1.0, {}, 1, 2, ())
    rows = Accounted(DECISIONS, 0, 0, 0, {"SETTLED": DECISIONS})
    aftermath = Aftermath(rows, Verified(DECISIONS, 1, 1, DECISIONS, findings), None, 0, 0, None)
    return Summary(
        counts, NO_PAST, (), 0, published, DECISIONS, DECISIONS, {}, 1, 2, 0.5, (), has_tripped=False,
        has_recovered=False, aftermath=aftermath,
    )  # fmt: skip


def test_a_model_that_never_went_wrong_is_what_was_lacking() -> None:
    [sentence] = never_wrong().lacking()
    assert "never went wrong on purpose" in sentence
    assert not never_wrong().is_good


def test_every_lack_is_told() -> None:
    lacking = never_wrong(published=DECISIONS + 1, findings=2).lacking()
    beginnings = ["Not every record", "The breaker had ", "The audit log wa"]
    assert beginnings == [sentence[:16] for sentence in lacking]


@pytest.mark.parametrize("as_json", [True, False])
def test_the_end_says_why_it_is_no_success(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    summary = never_wrong()
    show_summary(summary, [], RegimeArchive.of(Settings()), as_json=as_json)
    out = capsys.readouterr().out
    if as_json:
        assert summary.lacking() == json.loads(out)["lacking"]
    else:
        *_, lacking, end = out.splitlines()
        assert summary.lacking() == [lacking]
        assert "ends with 1" in end
