"""What a worker in production wants: signed feeds, and a signed champion that three people have approved."""

from __future__ import annotations

from pathlib import Path

from ops.bench.registry.scene import make_scene
from pipeline.decide.feeds.feed import FeedKind, parse_new_feed
from pipeline.decide.feeds.feed_files import put_in_force
from pipeline.decide.feeds.signature_files import keep_signature, signature_text
from pipeline.io.clock import now_ms
from pipeline.keys.key_files import create_signing_key, read_key_set, replace_key_set
from pipeline.keys.key_sets import KeyUse, with_key
from pipeline.people.people_files import write_people
from tests.records import feed_content


def approve_model(folder: Path, keys: Path) -> dict[str, str]:
    """Make the registry and the people's file in `folder`; return what names them to a worker.

    keys: a key set, which holds the keys that signed from then on.
    """
    scene = make_scene(folder)
    held = read_key_set(keys)
    for use, public in ((KeyUse.MODELS, scene.models.public), (KeyUse.ARTEFACTS, scene.artefacts.public)):
        held = with_key(held, use, public, 0)
    replace_key_set(keys, held)
    write_people(folder / "people", scene.book.acts)
    return {
        "FRAUD_MODEL_REGISTRY": str(folder / "registry"),
        "FRAUD_MODEL_MEMORY": str(folder / "memory"),
        "FRAUD_PEOPLE_FILE": str(folder / "people"),
    }


def publish_feeds(folder: Path, keys: Path) -> None:
    """Put today's feeds in force, as their publisher signs them, whose key the key set then holds."""
    publisher = create_signing_key(folder.with_name("publisher.key"), KeyUse.FEEDS, with_set=False)
    replace_key_set(keys, with_key(read_key_set(keys), KeyUse.FEEDS, publisher.public, 0))
    for kind in FeedKind:
        content = feed_content(kind)
        feed = parse_new_feed(content, kind)
        keep_signature(folder, feed, signature_text(publisher, content, now_ms()))
        put_in_force(folder, feed, content)
