"""`fraud shadow`, and what people do with disagreements. Each command imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import Json, Limit, PaymentId, Reason
from pipeline.terminal.output import Output

shadow_app = typer.Typer()
models_app = typer.Typer()

Version = Annotated[str, typer.Argument(metavar="VERSION", help="The version.", show_default=False)]
Digest = Annotated[
    str | None,
    typer.Option("--digest", metavar="HEX", help="Its files' digest, where several had that version.", min=64, max=64),
]


class VerdictName(StrEnum):
    CHAMPION_RIGHT = "CHAMPION_RIGHT"
    CHALLENGER_RIGHT = "CHALLENGER_RIGHT"
    UNCLEAR = "UNCLEAR"


@shadow_app.command("run")
def run() -> None:
    """Run the shadow until SIGTERM. The challenger answers beside the champion, and decides nothing."""
    from pipeline.shadow.service_command import run_shadow

    settings = settings_from_environment("shadow")
    run_shadow(settings, wire_format(settings))


@models_app.command("sign")
def sign_version(version: Version, as_json: Json = False) -> None:
    """Sign a version. The key is that of FRAUD_ARTEFACTS_KEY_FILE.

    A challenger as ONNX stands in a folder of FRAUD_CHALLENGERS_PATH, and is signed there.
    """
    from models.versions.act_command import show_signed
    from pipeline.shadow.trial_command import sign_version as signed

    show_signed(Output(as_json=as_json), signed(settings_from_environment(), version))


@models_app.command("try")
def try_version(version: Version, reason: Reason, as_json: Json = False) -> None:
    """Name the challenger, which answers in the shadow.

    It answers beside the champion, decides nothing, and needs nobody's approval. A trial ends when another version is
    named, such as the champion.
    """
    from models.versions.act_command import show_event
    from pipeline.shadow.trial_command import try_version as tried

    show_event(Output(as_json=as_json), tried(settings_from_environment(), version, reason))


@models_app.command("shadow")
def shadow(
    version: Version,
    digest: Digest = None,
    no_labels: Annotated[bool, typer.Option("--no-labels", help="Don't read labels.v1.")] = False,
    as_json: Json = False,
) -> None:
    """Report what a challenger's time in the shadow shows. That is agreement, its span, and fraud found."""
    from pipeline.shadow.report_command import report, show_report

    settings = settings_from_environment()
    found = report(settings, wire_format(settings), version, digest, with_labels=not no_labels)
    show_report(Output(as_json=as_json), found)


@models_app.command("disagreements")
def disagreements(
    version: Version,
    digest: Digest = None,
    is_open: Annotated[bool, typer.Option("--open", help="Only those that nobody has reviewed.")] = False,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List payments on which the two models differ. The most valuable come first."""
    from pipeline.shadow.disagreement_command import listed, show_disagreement

    output = Output(as_json=as_json)
    for each, said in listed(settings_from_environment(), version, digest, limit, is_open=is_open):
        show_disagreement(output, each, said)
    output.end_list("disagreement")


@models_app.command("review-disagreement")
def review_disagreement(
    version: Version,
    wanted: PaymentId,
    verdict: Annotated[VerdictName, typer.Argument(metavar="VERDICT", help="Who was right.")],
    reason: Reason,
    digest: Digest = None,
    as_json: Json = False,
) -> None:
    """Say which of the two was right about a payment. It is kept in your name."""
    from pipeline.people.identity_command import identity_of
    from pipeline.shadow.disagreement_command import review, show_reviewed

    settings = settings_from_environment("desk")
    said = review(settings, version, digest, wanted, verdict.value, reason, identity_of(settings))
    show_reviewed(Output(as_json=as_json), said)
