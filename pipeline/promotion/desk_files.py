"""Where the champion is moved: the registry, and the keys that its records are proved and signed by."""

from __future__ import annotations

from functools import partial
from typing import Final

from models.artefact.strict import ModelRefused
from models.versions.loading_files import signing_keys
from models.versions.registry_files import registry_at
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings
from pipeline.keys.key_files import SigningKey, SigningKeyRefused
from pipeline.promotion.gathering_store import Sources
from pipeline.promotion.moving_store import Desk
from pipeline.promotion.progress_store import frauds_on_topic
from pipeline.replay.archive_files import archived_or_in_force

NO_KEY_ID: Final = ""
NO_KEY: Final = "FRAUD_MODELS_KEY_FILE names no key by which the registry's records are signed"


class NoKey:
    """Signs nothing: whoever has it only looks."""

    key_id: Final = NO_KEY_ID

    def sign(self, _text: bytes) -> bytes:
        raise ModelRefused(NO_KEY)


def desk_of(settings: Settings, wire: WireFormat) -> Desk:
    """Return a desk at which the champion can be moved. Raises ModelRefused, without a full stop."""
    desk = reading_desk(settings, wire)
    if settings.models_key_file is None:
        raise ModelRefused(NO_KEY)
    try:
        return desk._replace(signing=SigningKey.from_file(settings.models_key_file))
    except SigningKeyRefused as refusal:
        raise ModelRefused(str(refusal)) from refusal


def reading_desk(settings: Settings, wire: WireFormat) -> Desk:
    """Return a desk for whoever only looks, who needs no key that signs. Raises ModelRefused.

    Who the people are is read from the database, at each move.
    """
    keys = signing_keys(settings)
    if keys is None:
        raise ModelRefused("FRAUD_SEAL_KEYS_FILE names no key set with a key of use models, so no record is proved")
    sources = Sources(registry_at(settings.model_registry), archived_or_in_force(settings))
    return Desk(sources, keys, NoKey(), partial(frauds_on_topic, settings, wire))


def watching_desk(settings: Settings, wire: WireFormat) -> Desk | None:
    """Return the desk of the stop rule; None in development where no record of the registry is signed.

    Without a key that signs it still looks, and tells that nothing can end a rollout. Raises ModelRefused.
    """
    if signing_keys(settings) is None:
        return None
    return reading_desk(settings, wire) if settings.models_key_file is None else desk_of(settings, wire)
