from pathlib import Path

from pipeline.io.settings import Settings
from pipeline.review.cases import diagram

PAGE = Path(__file__).parents[2] / "docs" / "review.md"


def test_page_holds_the_diagram():
    assert f"```mermaid\n{diagram()}```" in PAGE.read_text("utf-8")


def test_page_names_the_defaults():
    defaults, text = Settings.model_construct(), PAGE.read_text("utf-8")
    named = {
        "FRAUD_REVIEW_CLAIM_MINUTES": defaults.review_claim_minutes,
        "FRAUD_REVIEW_REASON_CHARACTERS_MIN": defaults.review_reason_characters_min,
        "FRAUD_REVIEW_FOUR_EYES_GBP_MINOR": f"{defaults.review_four_eyes_gbp_minor:,}",
        "FRAUD_REVIEW_EXPIRY_HOURS": defaults.review_expiry_hours,
    }
    for name, value in named.items():
        assert f"`{name}` ({value}" in text
