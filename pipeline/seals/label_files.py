"""Who may say what payments turned out to be: the check of labels.v1, where the key set holds a key of use labels.

Invariant: a label without a good seal, once anybody seals labels, is taken in by no feature, rule, model, monitor or
rollout (pipeline.seals.seal_files).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.domain.log import Prove
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeyUse
from pipeline.seals.seal import Sealer
from pipeline.seals.seal_files import SealedTopic, topic_proves, topic_sealer

LABELS: Final = "labels.v1"
_TOPIC: Final = SealedTopic(LABELS, KeyUse.LABELS, "label_unproved", is_past_believed=False)


def label_proves(settings: Settings) -> Mapping[str, Prove]:
    """Return the check of labels.v1, as `topic_proves` does."""
    return topic_proves(settings, _TOPIC)


def label_sealer(settings: Settings) -> Sealer | None:
    """Return what seals a publisher's labels, as `topic_sealer` does."""
    return topic_sealer(settings, _TOPIC)
