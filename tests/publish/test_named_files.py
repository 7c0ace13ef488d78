"""Files as people have them: each gives the payments that it says, or is refused with the true cause and place."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from models.train.history import HistoryRefused, labelled_payments
from ops.stack.topics import create_topics
from pipeline.domain.payment import Decoded, Transaction
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.publish.payment_files import open_payments, read_map
from pipeline.publish.payment_source import FilePayment, PaymentSource, Unreadable
from pipeline.publish.whole_check import Checked, check
from tests.archive import WIRE
from tests.publish.named_files import FILES, NamedFile

BY_NAME = pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
SOUND = [file for file in FILES if file.payments is not None]


def placed(file: NamedFile, folder: Path) -> tuple[Path, Path | None]:
    """Write the file, and its map beside it."""
    (folder / file.name).write_bytes(file.content)
    if file.mapping is None:
        return folder / file.name, None
    (folder / "map.toml").write_text(file.mapping, encoding="utf-8")
    return folder / file.name, folder / "map.toml"


def payments(file: NamedFile, folder: Path) -> list[FilePayment]:
    path, map_path = placed(file, folder)
    source = open_payments(path, with_labels=True, rules=read_map(map_path))
    found = list(source.read())
    assert all(isinstance(each, FilePayment) for each in found)
    return found  # type: ignore[return-value]


def test_there_are_at_least_150_files_of_each_outcome_some() -> None:
    assert len(FILES) >= 150
    assert len(SOUND) >= 50


def looked_at(path: Path, map_path: Path | None) -> tuple[PaymentSource, Checked]:
    source = open_payments(path, with_labels=True, rules=read_map(map_path))
    return source, check(source, time.time_ns() // 1_000_000, is_order_needed=True)


@BY_NAME
def test_a_file_is_read_as_it_says_or_refused_in_words(file: NamedFile, tmp_path: Path) -> None:
    path, map_path = placed(file, tmp_path)
    if file.payments is None and file.place is None:
        with pytest.raises(Unreadable, match=re.escape(file.phrase)):
            looked_at(path, map_path)
        return
    source, checked = looked_at(path, map_path)
    if file.payments is None:
        [fault] = {fault: None for fault in checked.faults if file.place == fault[:2]} or [checked.faults]
        assert file.place == fault[:2]
        assert file.phrase in fault.what
        return
    assert [] == checked.faults
    assert file.payments == checked.payments
    if file.last:
        *_, last = source.read()
        assert isinstance(last, FilePayment)
        fields = last.transaction._asdict() | {"fraud": last.is_fraud}
        assert file.last == {name: fields[name] for name in file.last}


@BY_NAME
def test_the_command_says_what_is_wrong_in_sentences(fraud, file: NamedFile, tmp_path: Path) -> None:
    path, map_path = placed(file, tmp_path)
    answer = fraud("payments", "publish", path, "--labels", "--check", *(("--map", map_path) if map_path else ()))
    code = 0 if file.payments is not None else 2 if file.place is None else 1
    assert code == answer.code, answer
    assert "Traceback" not in answer.err
    if file.payments is None:
        assert file.phrase in answer.out + answer.err


@pytest.mark.timeout(900)
def test_none_is_published_wrongly(fraud, stack, tmp_path: Path) -> None:
    """Every file goes through the command that publishes. Afterwards the topic holds the sound ones' payments alone."""
    settings = Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix="named.")
    create_topics(stack.bootstrap_servers, prefix="named.", partitions=1)
    environment = {"bootstrap_servers": settings.bootstrap_servers, "topic_prefix": "named."}
    expected: Counter[str] = Counter()
    for number, file in enumerate(FILES):
        (folder := tmp_path / str(number)).mkdir()
        path, map_path = placed(file, folder)
        answer = fraud(
            "payments", "publish", path, *(("--map", map_path) if map_path else ()), "--labels", **environment
        )
        assert (0 if file.payments is not None else 2) == answer.code, (file.name, answer)
        if file.payments is not None:
            expected.update(text(each.transaction) for each in payments(file, folder))
        else:
            assert answer.out == ""
            assert answer.err.count("\n") == 1
    with LogReader.of(settings) as log:
        decoded = [WIRE.decode_transaction(each.value) for each in log.read_all(settings.topic("transactions.v1"))]
    assert expected == Counter(text(each.transaction) for each in decoded if isinstance(each, Decoded))


def text(transaction: Transaction) -> str:
    return json.dumps(transaction._asdict(), sort_keys=True)


@BY_NAME
def test_training_reads_the_same_payments_and_refuses_the_same_files(file: NamedFile, tmp_path: Path) -> None:
    path, map_path = placed(file, tmp_path)
    if file.payments is None and file.name not in ("not-in-order.csv", "future.csv"):
        with pytest.raises((HistoryRefused, Unreadable), match=re.escape(file.phrase)):
            list(labelled_payments(path, read_map(map_path)))
        return
    found = list(labelled_payments(path, read_map(map_path)))
    if file.payments is not None:
        assert [(each.transaction, each.is_fraud) for each in payments(file, tmp_path)] == [
            (each.transaction, each.fraud) for each in found
        ]
