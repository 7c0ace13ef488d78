"""What pyproject.toml can't say: with FRAUD_COMPILE=1 the wheel's hot path is compiled by mypyc (ADR 0005)."""

import os

from setuptools import setup

COMPILED = (
    "pipeline/core/records.py",
    "pipeline/core/refusals.py",
    "pipeline/core/events.py",
    "pipeline/core/rules.py",
    "pipeline/core/phrases.py",
    "pipeline/core/decide.py",
    "pipeline/core/drift.py",
    "pipeline/core/identities.py",
    "pipeline/core/audit_chain.py",
    "pipeline/adapters/avro_reading.py",
    "pipeline/adapters/payment_codec.py",
    "pipeline/adapters/decision_codec.py",
    "pipeline/adapters/decision_decoder.py",
    "pipeline/adapters/state_requests.py",
    "pipeline/adapters/audit_rows.py",
    "pipeline/agents/judge.py",
)


def extensions() -> list:
    if os.environ.get("FRAUD_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    return mypycify(list(COMPILED), opt_level="2", debug_level="0", group_name="fraud_hot_path")


setup(ext_modules=extensions())
