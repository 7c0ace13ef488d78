"""The shadow on the real stack: what it costs the champion, and what a challenger that tries to decide achieves.

Cost: the same payments are decided in turns, with and without a shadow beside the worker, in one run on one machine.
The challenger is a glass box, and answers from the first decision on. After each turn with a shadow, the bench waits
until it has caught up, and holds its answers against the decisions.

Attempts: on a broker with passwords and rights, the shadow's own credential tries to write decisions, alerts and
everything else, to take a worker's place and to move other readers' positions. Where no broker refuses, on the other
stack, it writes decisions of its own making, unsealed, under a key of its own, and with a seal that it copied; the
check that every reader of decisions.v1 has tells them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import sql

from ops.access.rights import EVERY_TOPIC, Principal
from ops.bench.rig.services import shadow_process
from ops.bench.rig.supervision import running
from ops.bench.rig.topics_io import prepare_topics
from ops.bench.rig.waiting import wait_until
from ops.bench.speed.throughput import WORKER, Case, measured
from ops.compiled import compiled_tree_or_none, python_path
from ops.drills.models import ModelFolder
from ops.migrations.migrate import migrate
from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from pipeline.decide.policy import parse_policy
from pipeline.domain.log import SEAL_HEADER, Header, Outgoing
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import connect
from pipeline.io.settings import Settings
from pipeline.keys.key_files import SigningKey
from pipeline.seals.seal import Sealer
from pipeline.seals.seal_files import seal_check

TURNS: Final = 4
QUICK_TURNS: Final = 1
RECORDS: Final = 240_000
WARM_RECORDS: Final = 30_000
COST_PERCENT_MAX: Final = 10.0
BEGIN_S_MAX: Final = 180
CATCH_UP_S_MAX: Final = 600
ANSWER_S: Final = 120.0
PARTITIONS: Final = 4
FORGED: Final = 3
OWN: Final = "write shadow.v1"
"""The one act that the credential is for."""
Options = dict[str, str | int | float | bool]
DENIED: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    turns, records = (QUICK_TURNS, RECORDS // 4) if is_quick else (TURNS, RECORDS)
    tree = compiled_tree_or_none(say)
    models = ModelFolder(folder / "registry", Settings())
    version = models.add_raised(parse_policy(Settings().policy_path.read_bytes()))
    alone: list[dict[str, float]] = []
    beside: list[dict[str, float]] = []
    answered: list[dict[str, int]] = []
    with RealStack(folder / "stack", with_postgres=True) as stack:
        for turn in range(turns):
            for is_beside in (False, True) if turn % 2 else (True, False):  # so that neither always comes first
                name = f"shadow_{'beside' if is_beside else 'alone'}_{turn}"
                case = Case(name, WORKER.module, min(WARM_RECORDS, records // 5), records)
                if is_beside:
                    with _shadow(folder, stack, models, version, name, tree) as database_url:
                        beside.append(measured(say, folder, stack, case, tree))
                        answered.append(_caught_up(say, stack, database_url, f"{name}."))
                else:
                    alone.append(measured(say, folder, stack, case, tree))
                say(f"{name}: {(beside if is_beside else alone)[-1]}")
        forged = _forge(stack, f"{name}.")
        say(f"forged: {forged}")
    acts, decisions = _attempts(say, folder)
    pairs = list(zip(alone, beside, strict=True))
    ratio = median(on["decisions_per_s"] / off["decisions_per_s"] for off, on in pairs)
    cost_percent = round(100 * (1 - ratio), 1)
    is_whole = all(each["answers"] == each["decisions"] == each["told"] for each in answered)
    is_refused = all(said == "refused" for act, said in acts.items() if act != OWN)
    is_kept_out = is_refused and acts[OWN] == "done" and decisions == 0 and not forged["believed"]
    return {
        "compiled": tree is not None,
        "turns": turns,
        "alone": _medians(alone),
        "beside": _medians(beside),
        "ratio": round(ratio, 3),
        "cost_percent": cost_percent,
        "goal": {"cost_percent_max": COST_PERCENT_MAX},
        "reached": cost_percent < COST_PERCENT_MAX,
        "answered": answered,
        "attempts": acts,
        "decisions_after_attempts": decisions,
        "forged": forged,
        "ok": is_whole and is_kept_out and (is_quick or cost_percent < COST_PERCENT_MAX),
    }


@contextmanager
def _shadow(
    folder: Path, stack: RealStack, models: ModelFolder, version: str, name: str, tree: Path | None
) -> Iterator[str]:
    """Run the shadow on a case's topics and a database of its own, since the payments are the same in each turn.

    It has begun when the case begins. Yields the database's address, for its owner.
    """
    prefix, database_url = f"{name}.", _database(stack, name)
    prepare_topics(stack.bootstrap_servers, prefix)
    environment = {
        "FRAUD_TOPIC_PREFIX": prefix,
        "FRAUD_MODEL_REGISTRY": str(models.folder),
        "FRAUD_SHADOW_VERSION": version,
        **python_path(tree),
    }
    with running(shadow_process(stack.bootstrap_servers, database_url, folder, environment)):
        wait_until(lambda: _counted(database_url, "beginning") == PARTITIONS, BEGIN_S_MAX, "the shadow's start")
        yield database_url


def _database(stack: RealStack, name: str) -> str:
    with closing(connect(stack.database_url, "bench")) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    made = f"{stack.database_url.rpartition('/')[0]}/{name}"
    migrate(made)
    return made


def _caught_up(say: Callable[[str], None], stack: RealStack, database_url: str, prefix: str) -> dict[str, int]:
    """Count the decisions, the answers that the database has of them, and those on the topic."""
    decisions = _records(stack, f"{prefix}decisions.v1")
    behind = decisions - _counted(database_url, "answer")
    say(f"the shadow is {behind:,} decisions behind")
    wait_until(lambda: _counted(database_url, "answer") >= decisions, CATCH_UP_S_MAX, "catching up", every_s=1.0)
    told = _records(stack, f"{prefix}shadow.v1")
    return {
        "decisions": decisions,
        "answers": _counted(database_url, "answer"),
        "told": told,
        "behind_at_first": behind,
    }


def _counted(database_url: str, table: str) -> int:
    with closing(connect(database_url, "bench")) as connection:
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("shadow", table))
        found = connection.execute(query).fetchone()
    assert found is not None, "an aggregate has one row"
    return int(found[0])


def _records(stack: RealStack, topic: str) -> int:
    """Count the committed records; a transaction's marker is none."""
    with LogReader(stack.bootstrap_servers, "bench", {}) as reader:
        return sum(1 for _ in reader.read_all(topic))


def _forge(stack: RealStack, prefix: str) -> dict[str, object]:
    """Write decisions as a thief of the shadow would, where the broker lets them, and ask the readers' own check."""
    topic, own = f"{prefix}decisions.v1", SigningKey(Ed25519PrivateKey.generate())
    with LogReader(stack.bootstrap_servers, "bench", {}) as reader:
        genuine = next(reader.read_presented(topic, {0: 0}))
        begin = reader.extents(topic)[0].high
    other = genuine.value[:-1] + bytes([genuine.value[-1] ^ 1])
    sealed = Sealer(topic, lambda _: 0, own.key_id, own.sign).seal([Outgoing(topic, genuine.key, other)])[0].headers
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "enable.idempotence": True, "log_level": 2})
    copied_seal: list[Header] = [(SEAL_HEADER, genuine.seal)]
    for headers in (None, sealed, copied_seal):
        producer.produce(topic, other, genuine.key, 0, headers=headers)
    assert producer.flush(ANSWER_S) == 0, "this broker asks for no rights"
    check = seal_check(Settings())
    with LogReader(stack.bootstrap_servers, "bench", {}) as reader:
        found = list(reader.presented_range(topic, 0, begin, None, FORGED).taken)
        copied = next(reader.read_presented(topic, {0: 0}))._replace(topic=f"{prefix}shadow.v1")
    why = [None if (said := check.unproved(each)) is None else str(said.why) for each in [*found, copied]]
    return {"forged": len(why), "believed": sum(each is None for each in why), "why": why}


def _attempts(say: Callable[[str], None], folder: Path) -> tuple[dict[str, str], int]:
    """What each act of the shadow's credential came to, on a broker with rights; how much decisions.v1 holds then."""
    with RealStack(folder / "secure", secure=True) as stack:
        create_topics(stack.bootstrap_servers, partitions=1, client_settings=stack.admin_options)
        options: Options = {
            **stack.client_options(Principal.SHADOW),
            "bootstrap.servers": stack.bootstrap_servers,
            "log_level": 0,
        }
        acts = {f"write {topic}": _written(options, topic) for topic in EVERY_TOPIC}
        for name in ("fraud-decide-0", "fraud-rollback-1"):
            acts[f"take the place of {name}"] = _fenced(options, name)
        for group in ("fraud-decide", "fraud-executor", "fraud-review", "fraud-audit"):
            acts[f"move the position of {group}"] = _moved(options, group)
        say(f"attempts: {acts}")
        with LogReader(stack.bootstrap_servers, "bench", stack.admin_options) as reader:
            decisions = sum(1 for _ in reader.read_all("decisions.v1"))
    return acts, decisions


def _written(options: Options, topic: str) -> str:
    ends: list[KafkaError | None] = []

    def told(error: KafkaError | None, _message: Message) -> None:
        ends.append(error)

    producer = Producer({**options, "linger.ms": 0})
    producer.produce(topic, WireFormat().header("decision.v1"), b"key", on_delivery=told)
    producer.flush(ANSWER_S)
    return _said(ends[0]) if ends else "no answer"


def _fenced(options: Options, transactional_id: str) -> str:
    try:
        Producer({**options, "transactional.id": transactional_id}).init_transactions(ANSWER_S)
    except KafkaException as failure:
        return _said(failure.args[0])
    return "done"


def _moved(options: Options, group: str) -> str:
    wanted = [ConsumerGroupTopicPartitions(group, [TopicPartition("decisions.v1", 0, 0)])]
    admin = AdminClient(options)  # kept until it has answered: nobody would, once it is gone
    answer = admin.alter_consumer_group_offsets(wanted, request_timeout=ANSWER_S)[group]
    try:
        answer.result(2 * ANSWER_S)
    except KafkaException as failure:
        return _said(failure.args[0])
    except TimeoutError:
        return "no answer"
    return "done"


def _said(error: KafkaError | None) -> str:
    if error is None:
        return "done"
    return "refused" if error.code() in DENIED else str(error.str())


def _medians(results: list[dict[str, float]]) -> dict[str, float]:
    return {name: median(each[name] for each in results) for name in ("decisions_per_s", "process_cpu_us")}
