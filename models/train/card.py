"""The model card, which tells people what a model is for, how good it is and where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.artefact.scoring import Model, Scores
from models.train.metrics import Metrics

_TEXT = """\
# Model {version}

## What it is
A sum of {terms} tables over one or two features each ({pairs} of them pairs), learned by an additive booster and
compiled to integers. The contributions of the tables add up exactly to the score; they are the reasons that a decision
gives. One more table turns the score into a probability of fraud. Nothing in the artefact is executable.

## What it is for
To answer ALLOW or BLOCK for one payment, with a probability, between the hard guardrails (which decide before it and
which it never sees) and the soft guardrails (which can turn its ALLOW into ESCALATE). Not for credit, hiring, or
judging a person: it scores a payment in its context, and a block is reversible.

## What it learned from
{source}. Seed {seed}.
Learned on {learned:,} payments ({learned_frauds:,} frauds), calibrated on the {calibrated:,} that followed, measured on
the {measured:,} after those. SHA-256 of the features and labels: `{sha256}`.

## How good it is
Measured on payments later than all it learned from; alerts are the highest-scored 5 per mille, blocks have at least
80 % probability:

| | |
|---|---|
{metrics}

## What moves its score
Mean absolute contribution over the measured payments, in log-odds:

| table | mean |
|---|---|
{importance}

More of these can only raise the score, or for an age only lower it: {monotone}.

## What it does not see
Names, references, countries, postcode area, age band, and any other monitoring segment. Customers' features can still
be correlated with these: outcomes by segment are monitored, not assumed fair.

## Where it fails
{limits}
A feature that is not known has a table entry of its own, which is 0 where the training had no such case.

## Approvals and signature
None is recorded by training. The manifest has a place for approvals (role, name, time); a signature would be detached,
over the bytes of `manifest.json`. Until both exist, trust in the artefact is trust in the repository that holds it.
"""


def card(
    model: Model,
    metrics: Metrics,
    training: Mapping[str, int | str],
    scores: Scores,
    monotone: Sequence[str],
    limits: str,
) -> str:
    """Write the card; `scores` are those of the measured payments."""
    return _TEXT.format(
        version=model.version,
        terms=len(model.terms),
        pairs=sum(len(term.features) == 2 for term in model.terms),
        source=training["source"],
        learned=training["payments"],
        learned_frauds=training["frauds"],
        calibrated=training["calibration_payments"],
        measured=metrics.payments,
        sha256=training["sha256"],
        seed=training["seed"],
        metrics="\n".join(
            f"| {name.replace('_ppm', '').replace('_', ' ')} | {_shown(name, value)} |"
            for name, value in metrics._asdict().items()
        ),
        importance=_importance(model, scores),
        monotone=", ".join(f"`{name}`" for name in monotone) or "none",
        limits=limits,
    )


def _shown(name: str, value: int) -> str:
    return f"{value / 10_000:.2f} %" if "_ppm" in name else f"{value:,}"


def _importance(model: Model, scores: Scores) -> str:
    means = np.abs(scores.contribution_micro).mean(axis=0)
    order = np.argsort(-means, kind="stable").tolist()
    names = ["` and `".join(term.features) for term in model.terms]
    return "\n".join(f"| `{names[index]}` | {means[index] / 1e6:.3f} |" for index in order)
