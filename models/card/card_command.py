"""The card that `fraud models card` shows or writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from models.artefact.files import CARD
from models.artefact.strict import ModelRefused
from models.card.cards import CYCLONEDX, HTML, cards
from models.card.command import Form
from models.card.current_files import current_facts
from models.versions.artefact_files import read_artefact
from models.versions.loading_files import load_registered
from models.versions.registry_files import registry_at
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output
from pipeline.web.page_files import write

_FILES: Final = {Form.MARKDOWN: CARD, Form.HTML: HTML, Form.CYCLONEDX: CYCLONEDX}


def show(
    settings: Settings, version: str, form: Form | None, out: Path | None, output: Output, *, is_own: bool
) -> None:
    """Print the card or write it to `out`. With --json, what is printed is JSON: the document, or where it went."""
    if output.as_json and out is None and form not in (None, Form.CYCLONEDX):
        raise Failure(f"--json prints no {form}.", "Leave out --format, or give --out.")
    chosen = form or (Form.CYCLONEDX if output.as_json and out is None else Form.MARKDOWN)
    try:
        text = (_own if is_own else _current)(settings, version, chosen)
    except ModelRefused as refusal:
        raise Failure(f"{refusal}.", "Name a version of the registry, or set FRAUD_MODEL_REGISTRY.") from refusal
    if out is not None:
        write(out, text)
        output.record({"card": str(out), "version": version, "format": chosen.value}, f"The card is in {out}.")
    elif chosen is Form.CYCLONEDX:
        output.record(json.loads(text), text.rstrip("\n"))
    else:
        for line in text.splitlines():
            output.line(line)


def _current(settings: Settings, version: str, form: Form) -> str:
    made = cards(current_facts(settings, version))
    return {Form.MARKDOWN: made.markdown, Form.HTML: made.html, Form.CYCLONEDX: made.cyclonedx}[form].decode()


def _own(settings: Settings, version: str, form: Form) -> str:
    """Return a form that lies in the artefact, which is verified first. Raises ModelRefused."""
    load_registered(settings.model_registry, version)
    content = read_artefact(registry_at(settings.model_registry), version).get(_FILES[form])
    if content is None:
        raise ModelRefused(f"version '{version}' has no {_FILES[form]}: it was made before cards had three forms")
    return content.decode()
