"""The files of a chain in a registry, in their order and without a gap."""

from __future__ import annotations

from models.artefact.strict import refuse
from models.versions.locations import RECORD_BYTES_MAX, RECORDS_MAX, record_name, sequence_of
from models.versions.registry_files import Registry


def chained_files(registry: Registry, folder: str) -> list[tuple[str, bytes]]:
    """Return names and contents, first to last. Raises ModelRefused where one is missing or a stranger is there."""
    length = chain_length(registry, folder)
    found: list[tuple[str, bytes]] = []
    for sequence in range(1, length + 1):
        name = record_name(folder, sequence)
        content = registry.read(name, RECORD_BYTES_MAX)
        if content is None:
            refuse(f"'{name}' of the registry is missing")
        found.append((name, content))
    return found


def chain_length(registry: Registry, folder: str) -> int:
    """Return how many records a folder holds. Raises ModelRefused as `chained_files` does."""
    names = registry.names(folder)
    if len(names) > RECORDS_MAX:
        refuse(f"'{folder}' of the registry holds more than {RECORDS_MAX} files")
    sequences: list[int] = []
    for name in names:
        sequence = sequence_of(name)
        if sequence is None:
            refuse(f"'{folder}' of the registry holds the unexpected file '{name[:64]}'")
        sequences.append(sequence)
    if sorted(sequences) != list(range(1, len(sequences) + 1)):
        refuse(f"records of '{folder}' are missing in the registry")
    return len(sequences)
