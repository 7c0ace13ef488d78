"""Every failure that a person can cause: one clear sentence with the fix, the exit code, no traceback."""

import base64
import json
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ops.processes.servers import free_port
from ops.stack.topics import create_topics
from pipeline.keys.key_files import public_key
from pipeline.keys.key_sets import key_id_of
from pipeline.people.act_store import registry_acts
from pipeline.people.people_files import write_people
from pipeline.terminal.failures import failure_of
from tests.known import appoint, settings_of
from tests.servers import unused_prefix

ROOT = Path(__file__).parents[2]
HEADER = "transaction_id,tx_time_s,customer_id,terminal_id,amount_minor\n"


def failed(answer, *expected, code=2):
    assert answer.code == code, answer
    assert answer.err.startswith("fraud: ")
    assert answer.err.count("\n") == 1, "one line"
    assert "Traceback" not in answer.err
    for part in expected:
        assert part in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("decisions", "tail"),
        ("dead-letters", "list"),
        ("explain", "tx-1"),
        ("verify", "--all"),
        ("traffic", "generate", "--count", "1"),
        ("topics", "create"),
        ("worker", "run"),
    ],
)
def test_no_broker(fraud, monkeypatch, arguments):
    monkeypatch.setattr("pipeline.io.kafka.client.ANSWER_S", 0.3)
    monkeypatch.setattr("ops.stack.topics.REQUEST_TIMEOUT_S", 0.3)
    address = f"127.0.0.1:{free_port()}"
    answer = fraud(*arguments, bootstrap_servers=address, web_port=free_port())
    failed(answer, address, "FRAUD_ENV_FILE")


@pytest.mark.parametrize("arguments", [("breaker", "show"), ("breaker", "history")])
def test_no_redis(fraud, stack, arguments):
    prefix, redis_url = unused_prefix(), f"redis://:secret@127.0.0.1:{free_port()}/0"
    create_topics(stack.bootstrap_servers, prefix=prefix)
    reached = {"bootstrap_servers": stack.bootstrap_servers, "topic_prefix": prefix}
    failed(fraud(*arguments, redis_url=redis_url, **reached), "Redis does not answer")


def test_a_password_is_not_printed(fraud):
    answer = fraud("breaker", "show", redis_url=f"redis://:secret@127.0.0.1:{free_port()}/0")
    assert "secret" not in answer.err


def test_a_setting_that_can_t_be(fraud):
    failed(fraud("decisions", "tail", worker_slot=-1), "FRAUD_WORKER_SLOT")


@pytest.mark.parametrize("address", ["", "127.0.0.1:6379", "redis://127.0.0.1:port"])
def test_a_redis_address_that_is_none(fraud, address):
    failed(fraud("breaker", "show", redis_url=address), "FRAUD_REDIS_URL")


def test_no_broker_s_address(fraud):
    failed(fraud("decisions", "tail", bootstrap_servers=" "), "FRAUD_BOOTSTRAP_SERVERS")


def test_unknown_confluent_ids(fraud):
    failed(fraud("decisions", "tail", framing="confluent"), "FRAUD_CONFLUENT_IDS", "schemas register")


def test_a_port_in_use(fraud):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        failed(fraud("worker", "run", web_port=taken.getsockname()[1]), "FRAUD_WEB_PORT")


def test_no_policy_file(fraud, stack, tmp_path):
    answer = fraud(
        "worker",
        "run",
        bootstrap_servers=stack.bootstrap_servers,
        redis_url=stack.redis_url,
        policy_path=tmp_path / "none.toml",
        web_port=free_port(),
    )
    failed(answer, "none.toml", "fraud config check")


def test_a_policy_that_is_refused(fraud, stack, tmp_path):
    (tmp_path / "bad.toml").write_text('version = "1"\nsurprise = 1\n')
    answer = fraud(
        "worker",
        "run",
        bootstrap_servers=stack.bootstrap_servers,
        redis_url=stack.redis_url,
        policy_path=tmp_path / "bad.toml",
        web_port=free_port(),
    )
    failed(answer, "fraud config check")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("none.csv", None, "There is no file"),
        ("notes.txt", "Call me back.\n", "no column of a payment"),
        ("empty.csv", "", "empty.csv is empty"),
        ("columns.csv", "transaction_id,amount_minor\n1,2\n", "lacks the column 'account_id'"),
        ("row.csv", HEADER + "1,0,2,3,12.50\n", "row.csv has 1 fault. Line 2, column 'amount_minor': is a number with"),
        ("short.csv", HEADER + "1,0,2\n", "Line 2: has 3 values for 5 columns"),
        ("bytes.csv", b"\xff\xfe", "no column of a payment"),
        ("broken.parquet", "PAR1", "can't be read as parquet"),
    ],
)
def test_files_of_payments(fraud, stack, tmp_path, name, content, expected):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    failed(fraud("payments", "publish", tmp_path / name, bootstrap_servers=stack.bootstrap_servers), expected)


def test_labels_without_their_column(fraud, stack, tmp_path):
    (tmp_path / "payments.csv").write_text(HEADER)
    answer = fraud(
        "payments", "publish", tmp_path / "payments.csv", "--labels", bootstrap_servers=stack.bootstrap_servers
    )
    failed(answer, "no column 'fraud'")


def test_an_unknown_id(fraud, stack):
    failed(fraud("explain", "tx-none", bootstrap_servers=stack.bootstrap_servers), "No decision with the id tx-none")


def test_topics_that_are_not_there(fraud, stack):
    answer = fraud("decisions", "tail", bootstrap_servers=stack.bootstrap_servers, topic_prefix="none.")
    failed(answer, "There is no topic none.decisions.v1.", "fraud topics create")


def test_verify_wants_to_know_what(fraud):
    failed(fraud("verify"), "Say what to verify.")
    failed(fraud("verify", "tx-1", "--all"), "Say what to verify.")


def test_a_partition_that_is_not_there(fraud, stack):
    answer = fraud("verify", "--partition", 99, bootstrap_servers=stack.bootstrap_servers)
    failed(answer, "no partition 99")


def test_a_key_is_never_overwritten(fraud, tmp_path):
    made = fraud("keys", "create", "dead-letter", tmp_path / "key")
    assert made.code == 0
    assert len(base64.b64decode((tmp_path / "key").read_bytes())) == 32
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    failed(fraud("keys", "create", "dead-letter", tmp_path / "key"), "never overwritten")
    failed(fraud("keys", "create", "dead-letter", tmp_path / "no" / "key"), "can't be written")


def test_an_audit_key_is_made_with_its_public_half_and_never_overwritten(fraud, tmp_path):
    made = json.loads(fraud("keys", "create", "audit", tmp_path / "key", "--json").out)
    assert made["setting"] == "FRAUD_AUDIT_KEY_FILE"
    assert made["key_id"] == key_id_of(public_key(tmp_path / "key.pub"))
    assert made["public"] == str(tmp_path / "key.pub")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    failed(fraud("keys", "create", "audit", tmp_path / "key"), "never overwritten")


def test_a_key_set_that_is_none(fraud, tmp_path):
    answer = fraud("audit", "heads", "--keys", tmp_path / "none.keys", audit_directory=tmp_path)
    failed(answer, "can't be read", "fraud keys create audit")
    (tmp_path / "none.keys").write_text("{}")
    failed(fraud("keys", "list", "--set", tmp_path / "none.keys"), "is no key set", "fraud keys create")


def test_keys_are_rotated_and_revoked_by_command(fraud, tmp_path):
    keys, made = tmp_path / "first.keys", {}
    made["first"] = json.loads(fraud("keys", "create", "audit", tmp_path / "first", "--json").out)["key_id"]
    assert fraud("keys", "create", "witness", tmp_path / "witness", "--set", keys).code == 0
    rotated = fraud("keys", "rotate", "audit", tmp_path / "second", "--set", keys, "--overlap-hours", "2", "--json")
    made["second"] = json.loads(rotated.out)["key_id"]
    first, witness, second = map(json.loads, fraud("keys", "list", "--set", keys, "--json").out.splitlines())
    assert (made["first"], made["second"]) == (first["key_id"], second["key_id"])
    assert second["valid_from_ms"] + 2 * 3_600_000 == first["valid_until_ms"]
    assert (None, None, "witness") == (witness["valid_until_ms"], second["valid_until_ms"], witness["use"])
    revoke = ("keys", "revoke", made["first"], "--set", keys, "--reason")
    assert fraud(*revoke, "It was copied.", "--since", "2026-01-31T12:00:00Z").code == 0
    assert "revoked since 2026-01-31T12:00:00.000Z: It was copied." in fraud("keys", "list", "--set", keys).out
    failed(fraud(*revoke, "Later.", "--since", "2026-02-01T12:00:00Z"), "is revoked since")
    failed(fraud(*revoke, " ", "--since", "2026-01-01T00:00:00Z"), "needs a printable reason")
    failed(fraud(*revoke, "\x1b[2J", "--since", "2026-01-01T00:00:00Z"), "needs a printable reason")
    failed(fraud("keys", "revoke", "0" * 16, "--set", keys, "--reason", "?"), "holds no key")
    failed(fraud("keys", "create", "audit", tmp_path / "third", "--set", tmp_path / "none"), "can't be read")
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize("word", ["force-open", "release"])
def test_the_kill_switch_works_while_the_policy_is_refused(fraud, stack, owner, tmp_path, word):
    appoint(owner, {"on-call": "OPERATOR"})
    write_people(tmp_path / "people.jsonl", registry_acts(owner))
    (tmp_path / "edited.toml").write_text("surprise = 1\n")
    settings = {"state_prefix": word, "topic_prefix": unused_prefix(), "policy_path": tmp_path / "edited.toml"}
    create_topics(stack.bootstrap_servers, prefix=settings["topic_prefix"])
    settings |= {"bootstrap_servers": stack.bootstrap_servers, "redis_url": stack.redis_url}
    settings |= {"people_file": tmp_path / "people.jsonl", **settings_of(tmp_path / "people", "on-call")}
    asked = ("all", "--reason", "drill", "--json")
    assert json.loads(fraud("breaker", "force-open", *asked, **settings).out)["after"] == "FORCED_OPEN"
    if word == "release":
        assert json.loads(fraud("breaker", "release", *asked, **settings).out)["after"] == "HALF_OPEN"


def test_the_kill_switch_without_its_topic_says_so(fraud, stack, tmp_path):
    answer = fraud(
        *("breaker", "force-open", "all", "--reason", "drill"),
        bootstrap_servers=stack.bootstrap_servers,
        redis_url=stack.redis_url,
        topic_prefix=unused_prefix(),
        **settings_of(tmp_path / "people", "on-call"),
    )
    failed(answer, "breaker_switches.v1", "fraud topics create")


def test_a_time_that_is_none(fraud):
    answer = fraud("rollback", "plan", "--reason", "why", "--since", "yesterday")
    assert answer.code == 2
    assert "yesterday is no time" in answer.err


def test_a_key_that_is_none(fraud, stack, tmp_path):
    (tmp_path / "key").write_text("!!")
    (tmp_path / "key").chmod(0o600)
    answer = fraud("dead-letters", "list", "--open", tmp_path / "key", bootstrap_servers=stack.bootstrap_servers)
    failed(answer, "can't be read as base64", "fraud keys create dead-letter")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nothing", "--reason", "why"), "is no scope"),
        (("all", "--reason", " "), "a reason is needed"),
    ],
)
def test_the_kill_switch_wants_a_scope_and_a_reason(fraud, stack, tmp_path, arguments, expected):
    person = settings_of(tmp_path / "people", "on-call")
    failed(fraud("breaker", "force-open", *arguments, redis_url=stack.redis_url, **person), expected, code=1)


def test_the_kill_switch_wants_a_person(fraud, tmp_path):
    answer = fraud("breaker", "force-open", "all", "--reason", "why", session_file=tmp_path / "none")
    failed(answer, "Nothing proves who you are", "FRAUD_IDENTITY_FILE", "fraud login")


def test_training_without_a_history(fraud, tmp_path):
    failed(fraud("models", "train", tmp_path / "none.csv", "--version", "v"), "There is no file")


@pytest.mark.parametrize("address", ["localhost:8081", "file:///etc/passwd", ""])
def test_a_registry_that_is_no_address(fraud, address):
    failed(fraud("schemas", "register", "--registry", address), "no registry address")


def test_no_registry(fraud):
    failed(fraud("schemas", "register", "--registry", f"http://127.0.0.1:{free_port()}"), "No schema registry answers")


def test_config_check_names_what_is_wrong_and_the_fix(fraud, monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.io.kafka.client.ANSWER_S", 0.3)
    (tmp_path / "bad.toml").write_text("surprise = 1\n")
    answer = fraud(
        "config",
        "check",
        "--json",
        policy_path=tmp_path / "bad.toml",
        policy_archive=tmp_path,
        model_registry=tmp_path,
        dead_letter_key_file=tmp_path / "none",
        seal_keys_file=tmp_path / "none",
        bootstrap_servers=f"127.0.0.1:{free_port()}",
        redis_url=f"redis://127.0.0.1:{free_port()}",
    )
    findings = {line["what"]: line for line in map(json.loads, answer.out.splitlines())}
    assert answer.code == 1
    wrong = {what for what, finding in findings.items() if not finding["is_ok"]}
    assert wrong == {
        *("policy", "model", "dead-letter key", "seals", "broker", "clock", "kept", "switches", "redis", "state")
    }
    assert all(findings[what]["fix"] for what in wrong)


def test_config_check_in_production_finds_every_fault_in_one_run(fraud, monkeypatch, tmp_path):
    """Neither a secret in the environment nor an address that is none hides what is wrong with the rest."""
    monkeypatch.setattr("pipeline.io.kafka.client.ANSWER_S", 0.3)
    answer = fraud(
        "config",
        "check",
        "--json",
        profile="production",
        dead_letter_key="x",
        policy_path=tmp_path / "none",
        model_registry=tmp_path,
        bootstrap_servers=" ",
        redis_url="nowhere",
    )
    findings = {line["what"]: line for line in map(json.loads, answer.out.splitlines())}
    assert (answer.code, answer.err) == (1, "")
    wrong = {what for what, finding in findings.items() if not finding["is_ok"]}
    assert wrong == {
        *(
            "profile",
            "policy",
            "policy archive",
            "feeds",
            "model",
            "dead-letter key",
            "seals",
            "broker",
            "clock",
            "kept",
            "switches",
            "redis",
            "state",
        )
    }
    assert "FRAUD_DEAD_LETTER_KEY stands in the environment" in findings["profile"]["detail"]
    assert "Kafka is spoken to without TLS" in findings["profile"]["detail"]


def test_config_check_names_every_topic_that_is_missing(fraud, stack):
    answer = fraud("config", "check", "--json", bootstrap_servers=stack.bootstrap_servers, topic_prefix="of-nobody.")
    findings = {line["what"]: line for line in map(json.loads, answer.out.splitlines())}
    for name in ("transactions.v1", "labels.v1", "decisions.v1", "transactions.dead.v1", "alerts.v1"):
        assert f"of-nobody.{name}" in findings["broker"]["detail"]


def test_every_setting_that_cannot_be_used_is_named(fraud):
    failed(fraud("decisions", "tail", framing="morse", state_shards="0"), "FRAUD_FRAMING", "FRAUD_STATE_SHARDS")


def test_a_redrive_asks_who_and_why_but_a_dry_run_does_not(fraud, monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.io.kafka.client.ANSWER_S", 0.3)
    fraud("keys", "create", "dead-letter", tmp_path / "key")
    servers = {"bootstrap_servers": f"127.0.0.1:{free_port()}", "dead_letter_key_file": tmp_path / "key"}
    servers["session_file"] = tmp_path / "none"
    failed(fraud("dead-letters", "redrive", "--reason", "mended", **servers), "Nothing proves who you are")
    failed(fraud("dead-letters", "redrive", **servers), "--reason", "--dry-run")
    answer = fraud("dead-letters", "redrive", "--dry-run", **servers)
    assert "who you are" not in answer.err, "it got as far as its servers"


@pytest.mark.parametrize(
    ("verb", "said"), [(("decisions", "tail"), "No decisions."), (("dead-letters", "list"), "No dead letters.")]
)
def test_an_empty_list_says_so_and_stays_empty_for_machines(fraud, stack, verb, said):
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    places = {"bootstrap_servers": stack.bootstrap_servers, "topic_prefix": prefix}
    assert fraud(*verb, **places) == (0, "", f"{said}\n")
    assert fraud(*verb, "--json", **places) == (0, "", "")


def test_help_is_there_at_once():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([sys.executable, "-m", "ops.cli", "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "explain" in ended.stdout
    # Its own time, which others on the machine don't lengthen.
    took_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert took_s < 1.0, "0.2 s on an idle machine: nothing heavy is imported"


def test_what_a_worker_imports_needs_no_training_library():
    code = (
        "import sys, ops.demo.run, pipeline.decide.worker_command, pipeline.publish.file_command\n"
        "print([name for name in ('pandas', 'pyarrow', 'interpret', 'sklearn') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_full_disk_is_a_failure_in_words():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ops.cli", "--help"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "Make room" in done.stderr


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(2, "No such file or directory", "keys/a.key"), "keys/a.key can't be used (No such file"),
        (PermissionError(13, "Permission denied", "out"), "out can't be used (Permission denied)"),
        (OSError(36, "File name too long", "x" * 300), "can't be used (File name too long)"),
        (OSError(28, "No space left on device"), "Nothing more can be written"),
    ],
)
def test_what_the_machine_refuses_about_a_file_is_told(error, expected):
    failure = failure_of(error)
    assert failure is not None
    assert expected in failure.what
    assert failure.exit_code == 2


def test_an_error_about_no_file_stays_a_bug():
    assert failure_of(ConnectionResetError(104, "Connection reset by peer")) is None
    assert failure_of(KeyError("x")) is None
