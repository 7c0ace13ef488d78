"""What pyproject.toml can't say: with FRAUD_COMPILE=1 the wheel's hot path is compiled by mypyc (ADR 0005)."""

import os

from setuptools import setup

COMPILED = (
    "pipeline/domain/enums.py",
    "pipeline/domain/decision.py",
    "pipeline/domain/log.py",
    "pipeline/domain/payment.py",
    "pipeline/state/state_event.py",
    "pipeline/state/recounting.py",
    "pipeline/domain/refusals.py",
    "pipeline/domain/money.py",
    "pipeline/decide/event_features.py",
    "pipeline/decide/rules.py",
    "pipeline/decide/phrase_books/money.py",
    "pipeline/decide/phrase_books/v1/numbers.py",
    "pipeline/decide/phrase_books/v1/features.py",
    "pipeline/decide/phrase_books/v1/customer.py",
    "pipeline/decide/phrase_books/v1/book.py",
    "pipeline/decide/phrase_books/v2/book.py",
    "pipeline/decide/phrase_books/books.py",
    "pipeline/decide/reasons/families.py",
    "pipeline/decide/reasons/terms.py",
    "pipeline/decide/reasons/sureness.py",
    "pipeline/decide/verdict.py",
    "pipeline/breaker/answer_counts.py",
    "pipeline/breaker/detecting/account_weights.py",
    "pipeline/domain/identities.py",
    "pipeline/audit/chain.py",
    "pipeline/io/avro/reading.py",
    "pipeline/io/avro/resolving.py",
    "pipeline/io/avro/payment_decoder.py",
    "pipeline/decide/decision_encoder.py",
    "pipeline/io/avro/decision_decoder.py",
    "pipeline/io/avro/record_decoders.py",
    "pipeline/state/requests.py",
    "pipeline/audit/rows.py",
    "pipeline/decide/batch.py",
    "pipeline/seals/seal.py",
)


def extensions() -> list:
    if os.environ.get("FRAUD_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    return mypycify(list(COMPILED), opt_level="2", debug_level="0", group_name="fraud_hot_path")


setup(ext_modules=extensions())
