"""The `fraud` command: one table of what it offers.

Commands are nouns with verbs; only what people ask for most is a verb alone. A service is `fraud SERVICE run`, and
whatever prints facts takes `--json`. tests/ops/test_command_table.py holds every text that names a command against it.

Exit codes: 0 done, 1 a check failed, 2 the command could not be carried out (usage, configuration, out of reach).
Facts go to stdout. A failure is one line on stderr: what is wrong, and the fix.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.core import TyperGroup

from ops.command_table import Group, Section, Verb, command_tree
from pipeline.domain.free_text import shortened, shown
from pipeline.terminal.failures import failure_of

ABOUT: Final = "Decide payments; explain, verify, replay and reverse what was decided."
TABLE: Final = (
    Section(
        "Try it",
        (
            Verb(
                "demo",
                "Watch it all at work: a model goes wrong, and that is undone.",
                "ops.demo.command",
            ),
            Group("stack", "embedded real", "Hold up the servers that the pipeline needs.", "ops.stack.command"),
            Group("traffic", "generate", "Generate seeded traffic with fraud in it.", "models.simulator.command"),
            Group("payments", "publish", "Publish a file of payments.", "pipeline.publish.command"),
        ),
    ),
    Section(
        "Run the services",
        (
            Group("worker", "run", "Decide payments.", "pipeline.decide.command"),
            Group(
                "audit",
                "run export prove prove-row heads check verify",
                "Store every decision, and prove that none was changed.",
                "pipeline.audit.command ops.audit_verify_command",
            ),
            Group("witness", "run", "Say in another place what the audit log was.", "pipeline.witness.command"),
            Group("executor", "run restore", "Carry decisions out: move the money.", "pipeline.execute.command"),
            Group(
                "review",
                "run list show claim release decide recoveries close-recovery",
                "Keep escalated payments until people decide them.",
                "pipeline.review.command",
            ),
            Group(
                "reconcile",
                "run check statement vouch findings",
                "Account for every record, and for what the rail did.",
                "pipeline.reconcile.command",
            ),
            Group("shadow", "run", "Let a challenger answer beside the champion.", "pipeline.shadow.command"),
            Group(
                "incident",
                "run list show ack note resolve report",
                "Open incidents of what went wrong, and see to them.",
                "pipeline.incident.command",
            ),
            Group("bias", "run", "Watch how segments fare, and whether models drift.", "pipeline.bias.command"),
        ),
    ),
    Section(
        "Be told",
        (
            Group(
                "alerts",
                "run list show ack resolve silence silences unsilence test",
                "Deliver alerts, answer them and silence them.",
                "pipeline.oncall.command",
            ),
        ),
    ),
    Section(
        "Practise",
        (
            Verb("drill", "Let something go wrong in a lane of its own, and measure it.", "ops.drills.command"),
            Group(
                "drills",
                "list propose confirm consents verify",
                "Say which drills are due, and consent to live ones.",
                "ops.drills.command",
            ),
        ),
    ),
    Section(
        "Look at decisions and money",
        (
            Verb("explain", "Tell the whole life of a payment.", "pipeline.explain.command"),
            Verb("verify", "Decide again and compare the bytes.", "pipeline.replay.command"),
            Group(
                "feeds",
                "check install sign list show",
                "Put exchange rates and sanctions in force.",
                "pipeline.decide.feeds.command",
            ),
            Group("decisions", "tail", "Show the latest decisions.", "pipeline.decide.command"),
            Group(
                "dead-letters",
                "list redrive",
                "List the records that became no decision, and redrive them.",
                "pipeline.decide.command pipeline.redrive.command",
            ),
            Group(
                "ledger",
                "open import fund balance check",
                "Open accounts, fund them and check the books.",
                "pipeline.execute.command",
            ),
        ),
    ),
    Section(
        "Put things right",
        (
            Group(
                "breaker",
                "show status history force-open release",
                "Take the model out of the loop, and let it back in.",
                "pipeline.breaker.command",
            ),
            Group(
                "rollback",
                "plan apply list show report",
                "Reverse what a wrong model or policy decided.",
                "pipeline.rollback.command",
            ),
            Group(
                "quarantine",
                "propose confirm list",
                "Put aside a record that nothing can use, by two people.",
                "pipeline.quarantine.command",
            ),
            Group(
                "ruling",
                "waiting propose account disown confirm list",
                "Say, by two people, what the rail can't say any more.",
                "pipeline.ruling.command",
            ),
            Group(
                "state",
                "backup restore status",
                "Keep copies of what decisions need to know.",
                "ops.state.command",
            ),
            Verb("login", "Log in with your organisation's OpenID provider.", "pipeline.people.login_command"),
            Verb("logout", "End the login session on this machine.", "pipeline.people.login_command"),
            Group(
                "people",
                "create-key first-admin register-key revoke-key keys trust-provider bind-login grant revoke list export"
                " verify",
                "Say who people are and what they may do.",
                "pipeline.people.command",
            ),
        ),
    ),
    Section(
        "Set it up",
        (
            Group("config", "check", "Check everything that a worker needs.", "pipeline.decide.command"),
            Group(
                "topics",
                "create backup restore",
                "Create the Kafka topics, copy them, write them anew.",
                "ops.stack.command ops.topics.command",
            ),
            Group("schemas", "register check", "Register the Avro schemas, and check others.", "ops.stack.command"),
            Group(
                "database",
                "migrate ensure-partitions set-passwords check-access",
                "Migrate PostgreSQL, make partitions, set passwords.",
                "ops.migrations.command",
            ),
            Group("access", "apply check", "Grant each process its rights on the broker.", "ops.access.command"),
            Group("passwords", "create", "Create the passwords of every process.", "ops.access.command"),
            Group(
                "keys",
                "create rotate revoke list",
                "Create, rotate and revoke the keys that seal and sign.",
                "ops.access.command",
            ),
            Group(
                "models",
                "train card list show verify approve retire begin confirm challenger sign try shadow "
                "disagreements review-disagreement red-team bias drift check promote rollout rollback diff replay",
                "Train models, try, approve, promote and watch them.",
                "models.train.command models.card.command models.versions.command models.challengers.command "
                "pipeline.shadow.command models.redteam.command pipeline.bias.command pipeline.promotion.command "
                "models.lifecycle.difference_command",
            ),
        ),
    ),
)


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """The exit code; a failure that a person can cause is one line on stderr."""
    try:
        commands().main(list(arguments), prog_name="fraud")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        typer.echo(f"fraud: {shown(shortened(str(failure)))}", err=True)
        return failure.exit_code
    return 0


@cache
def commands() -> TyperGroup:
    return command_tree(ABOUT, TABLE, with_settings_from)


def with_settings_from(
    env_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take FRAUD_* settings from it, as `fraud stack` writes one."),
    ] = None,
) -> None:
    """Take the options that stand before a command; the variable FRAUD_ENV_FILE stands for them."""
    if env_file is not None:
        from pipeline.io.settings import ENV_FILE

        os.environ[ENV_FILE] = str(env_file.resolve())  # the processes that a command starts read it too


if __name__ == "__main__":
    main()
