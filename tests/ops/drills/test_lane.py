"""A lane that shares anything with the deployment is not started."""

import os

import pytest

from ops.drills.lane import LaneNames, LaneNotSeparate, Places, environment, lane_settings, require_separate, shared
from pipeline.io.settings import Profile, Settings

NAMES = LaneNames("0a1b2c3d")
DEPLOYMENT = Settings.model_construct(
    bootstrap_servers="broker.bank:9093",
    redis_url="rediss://redis.bank:6379/0",
    database_url="postgresql://{role}@127.0.0.1:5432/fraud",
    rail_url="https://rail.bank:443",
)
PLACES = Places(
    bootstrap_servers="127.0.0.1:20001",
    redis_url="redis://127.0.0.1:20002/0",
    database_url="postgresql://{role}@127.0.0.1:20003/fraud",
    rail_url="http://127.0.0.1:20004",
    kafka_options={},
    worker_port=20005,
)


@pytest.fixture
def lane(tmp_path):
    return lane_settings(NAMES, tmp_path, PLACES)


def test_a_lane_of_its_own_shares_nothing(lane, tmp_path):
    assert list(shared(lane, NAMES, tmp_path, DEPLOYMENT)) == []
    require_separate(lane, NAMES, tmp_path, DEPLOYMENT)


@pytest.mark.parametrize(
    "changed",
    [
        {"topic_prefix": ""},
        {"topic_prefix": "live."},
        {"topic_prefix": "drill-ffffffff."},
        {"state_prefix": "fraud"},
        {"state_prefix": "drill-ffffffff"},
        {"consumer_group": "fraud-decide"},
        {"rail_url": "https://rail.bank:443"},
        {"rail_url": "http://10.0.0.1:80"},
        {"database_url": "postgresql://{role}@127.0.0.1:5432/fraud"},
        {"database_url": "postgresql://{role}@db.bank:5432/fraud"},
        {"bootstrap_servers": "127.0.0.1:20001,broker.bank:9093"},
        {"redis_url": "rediss://redis.bank:6379/0"},
        {"profile": Profile.PRODUCTION},
        {"secrets_from": "file:/run/secrets"},
        {"alert_secrets": {"pagerduty": "x" * 32}},
        {"seal_key": "a key"},
        {"otlp_endpoint": "https://collector.bank"},
    ],
)
def test_each_thing_that_is_shared_is_refused(lane, tmp_path, changed):
    assert list(shared(lane.model_copy(update=changed), NAMES, tmp_path, DEPLOYMENT)) != []


@pytest.mark.parametrize(
    "name",
    [
        "policy_path",
        "policy_archive",
        "feeds_path",
        "model_registry",
        "dead_letter_key_file",
        "audit_directory",
        "audit_key_file",
        "seal_directory",
        "alert_routes_path",
    ],
)
def test_each_file_of_the_lane_stands_in_its_folder(lane, tmp_path, name):
    elsewhere = lane.model_copy(update={name: tmp_path.parent / "fraud"})
    assert list(shared(elsewhere, NAMES, tmp_path, DEPLOYMENT)) != []


@pytest.mark.parametrize("prefix", ["drill-", "drill-0a1b2c3d.", "drill-0a1b2c3d.more."])
def test_a_deployment_whose_topics_the_lanes_would_be_among_is_refused(lane, tmp_path, prefix):
    deployment = DEPLOYMENT.model_copy(update={"topic_prefix": prefix})
    assert list(shared(lane, NAMES, tmp_path, deployment)) != []


@pytest.mark.parametrize("variable", ["FRAUD_SEAL_KEYS", "FRAUD_SECRETS_FROM", "FRAUD_OTLP_ENDPOINT"])
def test_invariant_1_what_a_process_of_the_lane_would_inherit_counts(lane, tmp_path, monkeypatch, variable):
    (tmp_path / "seal_keys").write_text("{}")
    values = {"FRAUD_SECRETS_FROM": f"file:{tmp_path}", "FRAUD_OTLP_ENDPOINT": "https://collector.bank"}
    monkeypatch.setenv(variable, values.get(variable, "{}"))
    with pytest.raises(LaneNotSeparate):
        require_separate(lane, NAMES, tmp_path, DEPLOYMENT)


def test_invariant_1_a_file_of_settings_beside_the_process_counts(lane, tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("FRAUD_SEAL_KEY_FILE=/run/secrets/seal.key\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LaneNotSeparate, match="seal_key_file"):
        require_separate(lane, NAMES, tmp_path, DEPLOYMENT)


def test_the_environment_of_a_lanes_process_is_read_as_it_was_meant(lane, monkeypatch):
    for name, value in environment(lane).items():
        monkeypatch.setenv(name, value)
    read = Settings()
    for name in ("topic_prefix", "state_prefix", "consumer_group", "redis_url", "rail_url", "kafka_options"):
        assert getattr(read, name) == getattr(lane, name)
    assert "FRAUD_ALERT_SECRETS" not in os.environ
