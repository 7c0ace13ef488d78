from __future__ import annotations

import pytest

from tests.servers import url_as


@pytest.fixture
def reviewer_url(database_url: str) -> str:
    return url_as(database_url, "fraud_review")
