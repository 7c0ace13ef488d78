"""Commands that only hand over to operations and training: topics, stacks, keys, models."""

from __future__ import annotations

from pathlib import Path

from ops.stack.foreground import Form, hold
from ops.stack.stack import StackFailure
from ops.stack.topics import TopicOutcome, TopicReport, TopicsFailed, create_topics
from pipeline.io.sealing import DeadLetterKey, create_key_file
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output, coloured


def created_topics(settings: Settings, partitions: int, replication_factor: int) -> list[TopicReport]:
    try:
        return create_topics(
            settings.bootstrap_servers,
            partitions=partitions,
            prefix=settings.topic_prefix,
            replication_factor=replication_factor,
            client_settings={**settings.kafka_options, "log_level": "2"},
        )
    except TopicsFailed as failure:
        raise Failure(str(failure).rstrip(".") + ".", "Is the broker up, and may you create topics?") from failure


def show_topics(output: Output, reports: list[TopicReport]) -> bool:
    """True when every topic is as it should be."""
    for report in reports:
        colour = "red" if report.outcome is TopicOutcome.DIFFERS else "green"
        line = f"{coloured(f'{report.outcome:<8}', colour)} {report.name}  {'; '.join(report.differences)}".rstrip()
        output.record({"topic": report.name, "outcome": report.outcome, "differences": list(report.differences)}, line)
    return all(report.outcome is not TopicOutcome.DIFFERS for report in reports)


def hold_embedded(directory: Path, form: Form) -> None:
    from ops.stack.embedded import embedded_stack

    try:
        hold("embedded", embedded_stack, directory, is_kept=False, form=form)
    except StackFailure as failure:
        raise Failure("The embedded stack could not be started.", str(failure)) from failure


def hold_real(directory: Path, form: Form) -> None:
    from ops.stack.real import real_stack

    try:
        hold("real", real_stack, directory, is_kept=True, form=form)
    except StackFailure as failure:
        raise Failure("The real stack could not be started.", str(failure)) from failure


def create_key(path: Path) -> str:
    """The id of the new key, which stands in every dead letter sealed with it."""
    try:
        create_key_file(path)
    except FileExistsError as error:
        raise Failure(f"{path} exists; a key is never overwritten.", "Give another path.") from error
    except OSError as error:
        raise Failure(f"{path} can't be written ({error.strerror}).", "Give a path in a folder of yours.") from error
    return DeadLetterKey.from_file(path).key_id


def train_model(history: Path, out_dir: Path, version: str, seed: int) -> dict[str, object]:
    """The metrics of the new artefact in `out_dir/version`."""
    try:
        from models.train.history import HistoryRefused
        from models.train.train import train
    except ImportError as error:
        raise Failure(f"Training needs {error.name}.", "Install it: `pip install '.[train]'`.") from error
    if not history.is_file():
        raise Failure(f"There is no file {history}.", "Give labelled history as parquet or CSV.")
    try:
        return dict(train(history, out_dir, version, seed)._asdict())
    except HistoryRefused as refusal:
        raise Failure(f"{history.name} can't train a model: {refusal}.", "Correct or extend the file.") from refusal
    except FileExistsError as error:
        raise Failure(f"{out_dir / version} exists.", "Versions are never changed; give another --version.") from error
