"""What workers have seen in force, in a folder of theirs: a file for each record that was taken up, and never changed.

An older registry that is put back whole has good signatures throughout. Who has seen a later record refuses it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from models.artefact.strict import ModelRefused
from models.versions.aliases import AliasRecord, Seen
from models.versions.locations import SEQUENCE_DIGITS

FILES_MAX: Final = 20_000
_NAME: Final = re.compile(rf"champion-([0-9]{{{SEQUENCE_DIGITS}}})-([0-9a-f]{{64}})", re.ASCII)


class Memory:
    """Workers of one machine share a folder: each adds what it took up, and heeds what any of them did."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def seen(self) -> Seen | None:
        """Return the last record that was in force; None where none ever was. Raises ModelRefused."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ModelRefused(f"what was in force before can't be read ({error.strerror})") from error
        if len(names) > FILES_MAX:
            raise ModelRefused(f"the folder of what was in force before holds more than {FILES_MAX} files")
        found = [Seen(int(match[1]), match[2]) for name in names if (match := _NAME.fullmatch(name)) is not None]
        last = max(found, default=None)
        if last is not None and any(each.sequence == last.sequence and each != last for each in found):
            raise ModelRefused(f"two records {last.sequence} of champion were in force: the registry was forked")
        return last

    def remember(self, record: AliasRecord) -> None:
        """Raises ModelRefused: a worker that can't remember could be taken back by an older registry."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"champion-{record.sequence:0{SEQUENCE_DIGITS}}-{record.sha256}").touch()
        except OSError as error:
            raise ModelRefused(f"what is in force can't be remembered ({error.strerror})") from error
