"""All files that have a name, with what must become of each."""

from __future__ import annotations

from tests.publish import named_arrow_files, named_hostile_files, named_text_files, named_value_files
from tests.publish.named_file import FILES, NamedFile

__all__ = ["FILES", "NamedFile"]

for add in (*named_text_files.ALL, *named_value_files.ALL, *named_arrow_files.ALL, *named_hostile_files.ALL):
    add()
assert len({each.name for each in FILES}) == len(FILES), "each file has a name of its own"
