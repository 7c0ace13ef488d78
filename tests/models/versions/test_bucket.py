"""A registry in a bucket keeps the promises of one in a directory: nothing is written over, and all is proved."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from models.artefact.files import ModelRefused
from models.versions.alias_files import move_alias
from models.versions.aliases import Seen
from models.versions.loading_files import load_by_alias, load_registered
from models.versions.locations import Alias
from models.versions.registry_files import AlreadyThere, Registry, RegistryUnavailable, registry_at
from ops.bench.registry.scene import AT_MS, FIRST, HOUR_MS, SECOND, Scene, make_scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene") / "bank")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The location of an empty registry in a bucket of its own on loopback."""
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-2",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"models-{secrets.token_hex(8)}"
    boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
    yield Path(f"s3://{name}/bank")
    server.stop()


def uploaded(scene: Scene, location: Path) -> Registry:
    registry, root = registry_at(location), scene.registry.root
    for path in sorted(root.rglob("*")):
        if path.is_file():
            registry.create(str(path.relative_to(root)), path.read_bytes())
    return registry


def test_a_bucket_loads_what_a_directory_does(scene: Scene, bucket: Path) -> None:
    registry = uploaded(scene, bucket)
    loaded, there = load_by_alias(registry, scene.trust), load_by_alias(scene.registry, scene.trust)
    assert (there.record, there.model.hash) == (loaded.record, loaded.model.hash)
    assert load_registered(bucket, SECOND).version == SECOND
    assert registry.location == f"s3://{bucket.parts[1]}/bank"
    moved = move_alias(
        registry, scene.keys, scene.models, alias=Alias.CHALLENGER, version=SECOND, by="b", at_ms=AT_MS + 9 * HOUR_MS
    )
    assert (1, SECOND) == (moved.sequence, moved.version)


def test_a_bucket_is_never_written_over(bucket: Path) -> None:
    registry = registry_at(bucket)
    registry.create("v1/card.md", b"first")
    registry.create("v1/empty", b"")
    with pytest.raises(AlreadyThere, match="is never written over"):
        registry.create("v1/card.md", b"second")
    assert b"first" == registry.read("v1/card.md", 100)
    assert b"fi" == (registry.read("v1/card.md", 1) or b"")[:2], "no more is read than asked for, and one byte"
    assert (b"", None) == (registry.read("v1/empty", 100), registry.read("v1/none", 100))
    assert (["card.md", "empty"], []) == (registry.names("v1"), registry.names("v2"))


def test_what_is_altered_in_a_bucket_is_refused(scene: Scene, bucket: Path) -> None:
    import boto3

    registry = uploaded(scene, bucket)
    client = boto3.client("s3")
    tables = f"bank/{FIRST}/tables.json"
    held = client.get_object(Bucket=bucket.parts[1], Key=tables)["Body"].read()
    client.put_object(Bucket=bucket.parts[1], Key=tables, Body=held.replace(b"1", b"2", 1))
    with pytest.raises(ModelRefused, match="is not the manifest's"):
        load_by_alias(registry, scene.trust)
    client.put_object(Bucket=bucket.parts[1], Key=tables, Body=held)
    seen = load_by_alias(registry, scene.trust).record
    assert seen is not None
    client.delete_object(Bucket=bucket.parts[1], Key="bank/aliases/champion/000003.json")
    with pytest.raises(ModelRefused, match="an older registry was put in its place"):
        load_by_alias(registry, scene.trust, Seen(seen.sequence, seen.sha256))


def test_a_bucket_that_is_away_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    registry = registry_at(Path("s3://models/bank"))
    with pytest.raises(RegistryUnavailable, match="can't be read"):
        registry.read("champion", 100)
    with pytest.raises(RegistryUnavailable, match="can't be listed"):
        registry.names("aliases")


def test_a_missing_library_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(RegistryUnavailable, match=r"needs s3fs: install it by `pip install '.\[s3\]'`"):
        registry_at(Path("s3://models/bank"))


def test_two_writers_of_one_name_do_not_both_win(tmp_path: Path) -> None:
    one, other = registry_at(tmp_path), registry_at(tmp_path)
    one.create("aliases/champion/000001.json", b"one")
    with pytest.raises(AlreadyThere):
        other.create("aliases/champion/000001.json", b"other")
    assert ["000001.json"] == one.names("aliases/champion"), "nothing half-written stays"
    shutil.rmtree(tmp_path / "aliases")
    assert [] == one.names("aliases/champion")
