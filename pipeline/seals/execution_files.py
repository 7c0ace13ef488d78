"""Who may say what became of payments: the check of executions.v1, where the key set holds a key of use executions.

Decision workers learn from that topic whom an account has paid, and what it has spent; the executor, whether its ledger
is older than what it has told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.domain.log import Prove
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_sets import KeyUse
from pipeline.seals.seal import Sealer
from pipeline.seals.seal_files import sealer_of
from pipeline.seals.sealed_topic_files import SealedTopic, topic_proves, topic_sealer

EXECUTIONS: Final = "executions.v1"
_TOPIC: Final = SealedTopic(EXECUTIONS, KeyUse.EXECUTIONS, "execution_unproved", is_past_believed=True)


def execution_proves(settings: Settings) -> Mapping[str, Prove]:
    """Return the check of executions.v1, as `topic_proves` does."""
    return topic_proves(settings, _TOPIC)


def execution_sealer(settings: Settings) -> Sealer | None:
    """Return what seals what the executor tells, as `topic_sealer` does; in production nothing is told unsealed."""
    if settings.profile is Profile.PRODUCTION:
        return sealer_of(settings, KeyUse.EXECUTIONS, name=EXECUTIONS)
    return topic_sealer(settings, _TOPIC)
