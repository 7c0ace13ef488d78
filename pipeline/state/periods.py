"""How far back the state looks, and how much of it an account keeps."""

from __future__ import annotations

from typing import Final

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
ACCOUNT_WINDOWS_MS: Final = (HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
BENEFICIARY_WINDOWS_MS: Final = (DAY_MS, 7 * DAY_MS)
LABEL_WINDOWS_MS: Final = (DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
BLOCK_MS: Final = 30 * DAY_MS
"""A normal month is the mean of complete blocks of 30 days, counted from 1970-01-01."""
NORMAL_MONTH_BLOCKS: Final = 3
ACCOUNT_BENEFICIARIES_MAX: Final = 65_536
"""Most beneficiaries that an account remembers, for ever. Beyond that, each payment to an unknown one counts as new and
as one more distinct beneficiary."""
BLOCK_SUM_MINOR_MAX: Final = 2**51
"""Largest sum of a block. Three still sum below 2^53, the largest integer that Lua holds exactly."""
