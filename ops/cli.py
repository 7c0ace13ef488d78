"""The `fraud` command: what can be asked for. Each command imports what it needs when it is called.

Exit codes: 0 done, 1 a check failed, 2 the command could not be carried out (usage, configuration, out of reach).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.access.command import access_app
from ops.audit_verify_command import audit_verify
from ops.migrations.database_command import database_app
from pipeline.audit.command import audit_app
from pipeline.execute.ledger_command import ledger_app
from pipeline.review.command import person_app, review_app
from pipeline.rollback.command import rollback_app

if TYPE_CHECKING:
    from pipeline.io.avro.wire import WireFormat
    from pipeline.io.settings import Settings

app = typer.Typer(
    help="Decide, explain, verify and replay payments.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)
decisions_app = typer.Typer(help="Decisions as they stand on their topic.", no_args_is_help=True)
dead_letters_app = typer.Typer(help="Records that could not be decided.", no_args_is_help=True)
topics_app = typer.Typer(help="The Kafka topics.", no_args_is_help=True)
config_app = typer.Typer(help="The configuration.", no_args_is_help=True)
keys_app = typer.Typer(help="Keys for dead letters.", no_args_is_help=True)
schemas_app = typer.Typer(help="The Avro schemas.", no_args_is_help=True)
breaker_app = typer.Typer(help="The circuit breaker.", no_args_is_help=True)
for name, group in {
    "decisions": decisions_app,
    "dead-letters": dead_letters_app,
    "topics": topics_app,
    "access": access_app,
    "config": config_app,
    "keys": keys_app,
    "schemas": schemas_app,
    "breaker": breaker_app,
    "audit": audit_app,
    "database": database_app,
    "ledger": ledger_app,
    "review": review_app,
    "person": person_app,
    "rollback": rollback_app,
}.items():
    app.add_typer(group, name=name)

audit_app.command("verify")(audit_verify)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Account = Annotated[str | None, typer.Option("--account", help="The paying account, to look in one partition only.")]
Rate = Annotated[float | None, typer.Option(min=0.1, help="Records a second; flat out when not given.")]
Scope = Annotated[str, typer.Argument(help="all, model:VERSION or segment:NAME=VALUE.")]
By = Annotated[str, typer.Option(help="Who asks for it.")]
Why = Annotated[str, typer.Option("--reason", help="For the record.")]
NowStamps = Annotated[bool, typer.Option("--now", help="Stamp records with the clock, not with the event time.")]


class OutcomeName(StrEnum):
    ALLOW = "ALLOW"
    BLOCK = "BLOCK"
    ESCALATE = "ESCALATE"


class StackName(StrEnum):
    EMBEDDED = "embedded"
    REAL = "real"


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """The exit code; a failure that a person can cause is one line on stderr."""
    try:
        app(list(arguments), prog_name="fraud")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except Exception as error:
        from pipeline.terminal.failures import Failure

        if not isinstance(error, Failure):
            raise
        typer.echo(f"fraud: {error}", err=True)
        return error.exit_code
    return 0


@app.command()
def demo(
    seconds: Annotated[int, typer.Option(min=20, max=600, help="How long payments keep coming.")] = 55,
    seed: Annotated[int, typer.Option(min=0, help="Of the traffic.")] = 7,
    rate: Annotated[int, typer.Option(min=50, max=2000, help="Payments a second.")] = 200,
    directory: Annotated[Path, typer.Option(help="Where its files go.")] = Path("var/demo"),
    as_json: Json = False,
) -> None:
    """Watch the pipeline decide and pay: an embedded stack, fraud, a model that goes wrong, and how it is undone."""
    from ops.demo.run import run_demo

    raise typer.Exit(0 if run_demo(directory, seconds=seconds, seed=seed, rate=rate, as_json=as_json) else 1)


@app.command()
def worker(
    keep: Annotated[
        bool, typer.Option("--keep", help="Follow a worker that is killed or gives up by another.")
    ] = False,
) -> None:
    """Run one decision worker until SIGTERM, as FRAUD_* variables configure it."""
    if keep:
        from pipeline.decide.keeper_service import keep_filled

        keep_filled(_settings("worker").log_level)
    from pipeline.decide.worker_command import run_worker

    run_worker(_settings("worker"))


@app.command()
def executor() -> None:
    """Run the execution service until SIGTERM, as FRAUD_* variables configure it."""
    from pipeline.execute.service_command import run_executor

    settings = _settings("executor")
    run_executor(settings, _wire(settings))


@app.command()
def generate(
    seconds: Annotated[int, typer.Option(min=1, help="Publish for so long, at --rate.")] = 60,
    count: Annotated[int | None, typer.Option(min=1, help="Publish so many payments instead.")] = None,
    rate: Rate = None,
    seed: Annotated[int, typer.Option(min=0)] = 7,
    accounts: Annotated[int, typer.Option(min=100, max=10_000_000)] = 2000,
    guardrail_share: Annotated[float, typer.Option(min=0, max=0.2, help="Of payments that a guardrail stops.")] = 0.0,
    context: Annotated[bool, typer.Option(help="Also accounts and risk signals.")] = True,
    labels: Annotated[bool, typer.Option("--labels", help="Also labels.")] = False,
    now: NowStamps = False,
    as_json: Json = False,
) -> None:
    """Publish seeded traffic with fraud in it. At 300 a second, or flat out with --count and no --rate."""
    from models.simulator.command import RATE_DEFAULT, Wanted
    from models.simulator.command import generate as publish
    from pipeline.terminal.output import Output, progress

    if count is None:
        rate = rate or RATE_DEFAULT
        count = int(seconds * rate)
    settings = _settings()
    wanted = Wanted(count, rate, seed, accounts, guardrail_share, context, labels, now)
    with progress("publishing", count) as advance:
        published = publish(settings, _wire(settings), wanted, advance)
    speed = published.transactions / max(published.seconds, 0.001)
    line = f"{published.transactions:,} payments published in {published.seconds:.1f} s ({speed:,.0f} a second), with "
    line += f"{published.accounts:,} accounts, {published.risk_signals:,} risk signals, {published.labels:,} labels."
    Output(as_json=as_json).record(published._asdict(), line)


@app.command("replay-file")
def replay_file(
    path: Annotated[Path, typer.Argument(help="Parquet or CSV.")],
    rate: Rate = None,
    labels: Annotated[bool, typer.Option("--labels", help="Also publish its frauds as labels.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many payments.")] = None,
    now: NowStamps = False,
    as_json: Json = False,
) -> None:
    """Publish a file of payments, at a rate or flat out."""
    from pipeline.publish.command import advice, replay_file
    from pipeline.publish.payment_files import rows_of
    from pipeline.terminal.output import Output, progress

    output, settings = Output(as_json=as_json), _settings()
    with progress("replaying", limit or rows_of(path)) as advance:
        replayed = replay_file(
            settings, _wire(settings), path, rate=rate, with_labels=labels, is_now=now, limit=limit, advance=advance
        )
    if not now and (sentence := advice(replayed)):
        output.note(sentence)
    speed = replayed.transactions / max(replayed.seconds, 0.001)
    line = f"{replayed.transactions:,} payments and {replayed.labels:,} labels of {path.name} published"
    output.record(replayed._asdict(), f"{line} in {replayed.seconds:.1f} s ({speed:,.0f} a second).")


@decisions_app.command("tail")
def decisions_tail(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as decisions are made.")] = False,
    outcome: Annotated[OutcomeName | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, max=100_000)] = 20,
    as_json: Json = False,
) -> None:
    """The latest decisions, oldest first."""
    from pipeline.decide.decision_topics import show_decision, tail
    from pipeline.domain.decision import Outcome
    from pipeline.terminal.output import Output

    settings, output = _settings(), Output(as_json=as_json)
    wanted = None if outcome is None else Outcome(outcome.value)
    for decision in tail(settings, _wire(settings), limit, wanted, is_followed=follow):
        show_decision(output, decision)


@dead_letters_app.command("list")
def dead_letters_list(
    key_file: Annotated[Path | None, typer.Option("--open", help="Key file to open payloads with.")] = None,
    as_json: Json = False,
) -> None:
    """Records that became no decision, and why; opening them shows customers' records."""
    from pipeline.decide.decision_topics import dead_letters, show_dead_letter
    from pipeline.terminal.output import Output

    settings, output = _settings(), Output(as_json=as_json)
    for letter in dead_letters(settings, _wire(settings), key_file):
        show_dead_letter(output, letter)


@app.command()
def explain(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="Of a decision or of a transaction.")],
    account: Account = None,
    html: Annotated[Path | None, typer.Option(help="Write one HTML page there, to print or hand on.")] = None,
    as_json: Json = False,
) -> None:
    """The whole life of a payment: what was decided and why, what happened since, and where the money is."""
    from pipeline.explain.command import whole
    from pipeline.explain.page import write_page
    from pipeline.explain.text_page import show_whole
    from pipeline.terminal.output import Output

    settings, output = _settings(), Output(as_json=as_json)
    told = whole(settings, _wire(settings), wanted, account)
    if html is not None:
        write_page(html, told)
    if html is None or as_json:
        show_whole(output, told)
    else:
        for sentence in told.sentences:
            output.line(sentence)


@app.command()
def verify(
    wanted: Annotated[str | None, typer.Argument(metavar="[ID]", help="Of a decision or of a transaction.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of decisions.v1.")] = False,
    partition: Annotated[int | None, typer.Option(min=0, help="One partition of decisions.v1.")] = None,
    begin: Annotated[int | None, typer.Option("--from", min=0, help="Its first offset.")] = None,
    end: Annotated[int | None, typer.Option("--to", min=0, help="The offset after its last.")] = None,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """Decide again from the stored snapshot and compare the bytes. Exit 1 unless all are identical."""
    from pipeline.replay.command import Stretch, show_checks, verify_one, verify_stretches
    from pipeline.terminal.failures import Failure
    from pipeline.terminal.output import Output, progress

    if (wanted is not None) + every + (partition is not None) != 1:
        raise Failure("Say what to verify.", "Give one of: an ID, --all, --partition P [--from A] [--to B].")
    settings, output = _settings(), Output(as_json=as_json)
    if wanted is not None:
        is_sound = show_checks(output, verify_one(settings, _wire(settings), wanted, account))
    else:
        stretches = None if partition is None else [Stretch(partition, begin, end)]
        with progress("deciding again", None) as advance:
            is_sound = show_checks(output, verify_stretches(settings, _wire(settings), stretches, advance))
    raise typer.Exit(0 if is_sound else 1)


@app.command()
def train(
    history: Annotated[Path, typer.Argument(help="Labelled payments, parquet or CSV.")],
    version: Annotated[str, typer.Option(help="Of the new artefact.")],
    out: Annotated[Path, typer.Option(help="The registry to add it to.")] = Path("models/registry"),
    seed: Annotated[int, typer.Option(min=0)] = 20261101,
    as_json: Json = False,
) -> None:
    """Learn a glass-box model from labelled history. It decides nothing until the registry names it champion."""
    from ops.stack.command import train_model
    from pipeline.terminal.output import Output

    metrics = train_model(history, out, version, seed)
    words = ", ".join(f"{name} {value}" for name, value in metrics.items())
    Output(as_json=as_json).record({"artefact": str(out / version), **metrics}, f"{out / version}: {words}")


@app.command()
def stack(
    name: Annotated[StackName, typer.Argument()],
    directory: Annotated[Path | None, typer.Option(help="Where its files go.")] = None,
    as_json: Json = False,
) -> None:
    """Hold a broker and a Redis up until Ctrl-C, and print their addresses."""
    from ops.stack import command as operations

    if name is StackName.EMBEDDED:
        operations.hold_embedded(directory or Path("var/embedded"), as_json=as_json)
    else:
        operations.hold_real(directory or Path("var/stack"), as_json=as_json)


@topics_app.command("create")
def topics_create(
    partitions: Annotated[int, typer.Option(min=1, max=10_000, help="Of transactions and decisions.")] = 4,
    replication_factor: Annotated[int, typer.Option(min=1, max=7)] = 1,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing; exit 1 when one that exists is otherwise than it should be."""
    from ops.stack.command import created_topics, show_topics
    from pipeline.terminal.output import Output

    reports = created_topics(_settings("topics"), partitions, replication_factor)
    raise typer.Exit(0 if show_topics(Output(as_json=as_json), reports) else 1)


@config_app.command("check")
def config_check(as_json: Json = False) -> None:
    """Look at everything that a worker needs; exit 1 when something is wrong."""
    from pipeline.decide.check_command import findings, show_findings
    from pipeline.terminal.output import Output

    raise typer.Exit(0 if show_findings(Output(as_json=as_json), findings(_settings())) else 1)


@keys_app.command("create")
def keys_create(path: Path, as_json: Json = False) -> None:
    """Make a key that dead letters are sealed with, in a new file that only its owner can read."""
    from ops.stack.command import create_key
    from pipeline.terminal.output import Output

    key_id = create_key(path)
    line = f"Key {key_id} stands in {path}. Set FRAUD_DEAD_LETTER_KEY_FILE={path}, and keep a copy safe."
    Output(as_json=as_json).record({"key_id": key_id, "path": str(path)}, line)


@schemas_app.command("register")
def schemas_register(
    registry: Annotated[str, typer.Option(help="http://HOST:PORT of a Confluent-compatible registry.")],
    as_json: Json = False,
) -> None:
    """Register every schema, and print the ids to pin in FRAUD_CONFLUENT_IDS."""
    from ops.stack.schemas_command import register, show_registered
    from pipeline.terminal.output import Output

    show_registered(Output(as_json=as_json), list(register(_settings(), registry)))


@app.command()
def reconcile(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as a service, until SIGTERM.")] = False,
    as_json: Json = False,
) -> None:
    """Hold what was taken in, decided, audited and executed against each other; exit 1 when something is missing."""
    from pipeline.reconcile import command as reconciliation
    from pipeline.terminal.output import Output

    settings = _settings("reconcile")
    if follow:
        reconciliation.follow(settings, _wire(settings))
        return
    is_whole = reconciliation.reconcile_once(settings, _wire(settings), Output(as_json=as_json))
    raise typer.Exit(0 if is_whole else 1)


@breaker_app.command("show")
def breaker_show(as_json: Json = False) -> None:
    """The state of every scope; exit 1 unless all is closed."""
    from pipeline.breaker.command import show_states, states
    from pipeline.terminal.output import Output

    raise typer.Exit(0 if show_states(Output(as_json=as_json), states(_settings())) else 1)


@breaker_app.command("history")
def breaker_history(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 50, as_json: Json = False
) -> None:
    """Its latest changes with their causes, oldest first."""
    from pipeline.breaker.command import history, show_transition
    from pipeline.terminal.output import Output

    for change in history(_settings(), limit):
        show_transition(Output(as_json=as_json), change)


@breaker_app.command("force-open")
def breaker_force_open(scope: Scope, by: By, reason: Why, as_json: Json = False) -> None:
    """The kill switch: take the model out of the loop until somebody releases it."""
    from pipeline.breaker.command import force_open, show_transition
    from pipeline.terminal.output import Output

    show_transition(Output(as_json=as_json), force_open(_settings(), scope, by, reason))


@breaker_app.command("release")
def breaker_release(
    scope: Scope,
    by: By,
    reason: Why,
    accept_shift: Annotated[bool, typer.Option("--accept-shift", help="What it does now is the new normal.")] = False,
    as_json: Json = False,
) -> None:
    """Let the model try again, on a sample first."""
    from pipeline.breaker.command import release, show_transition
    from pipeline.terminal.output import Output

    show_transition(Output(as_json=as_json), release(_settings(), scope, by, reason, accept_shift=accept_shift))


def _settings(process: str = "command") -> Settings:
    """process: what runs, as the production profile knows it."""
    from pipeline.terminal.failures import settings_from_environment

    return settings_from_environment(process)


def _wire(settings: Settings) -> WireFormat:
    from pipeline.terminal.failures import wire_format

    return wire_format(settings)


if __name__ == "__main__":
    main()
