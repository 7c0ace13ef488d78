"""XML that others wrote, read as a stream within bounds.

Invariants
1. A document type is refused before anything of it is read, so no entity can be defined, expanded or fetched.
2. Memory is bounded whatever the file holds: a chunk of the file, a tag of at most TOKEN_BYTES_MAX, and what the
   listener keeps. Depth and names are bounded, too.
3. Bytes are read in the encoding that the document declares, or UTF-8 where it declares none. Encodings that no payment
   message has are refused by their name, and none is found by trying.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final, Protocol
from xml.parsers import expat

CHUNK_BYTES: Final = 64 * 1024
TOKEN_BYTES_MAX: Final = 1024 * 1024
"""The longest tag, comment or other piece that expat holds until it is whole. Text comes in pieces, however long."""
DEPTH_MAX: Final = 32
NAME_CHARACTERS_MAX: Final = 64
ENCODINGS: Final = frozenset({"utf-8", "us-ascii", "iso-8859-1"})
_OTHER_MARKS: Final = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""Byte order marks, the longer ones first: that of UTF-32 begins as UTF-16's does."""
_MARK_BYTES_MAX: Final = 4


class XmlRefused(Exception):
    """The file is no XML that is read here; `what` says why, quoting none of its texts. line counts from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"{what} (line {line})")
        self.line, self.what = line, what


class Listener(Protocol):
    """Hears elements in the document's order. namespace is empty where the element has none."""

    def start(self, namespace: str, name: str, attributes: Mapping[str, str]) -> None: ...

    def hear(self, text: str) -> None: ...

    def end(self) -> None: ...


class XmlStream:
    """One document. Whatever the listener raises ends the reading and is passed on."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._depth = 0
        self.is_latin = False
        """Whether the document declares ISO-8859-1, in which any bytes are a text."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declare
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.EntityDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = listener.hear
        self._parser = parser

    @property
    def line(self) -> int:
        """The line of what was heard last."""
        return self._parser.CurrentLineNumber

    def read(self, file: BinaryIO) -> Iterator[None]:
        """Yield after each chunk, so that what was heard can be taken. Raises XmlRefused."""
        fed = 0
        try:
            while chunk := file.read(CHUNK_BYTES):
                if not fed:
                    self._look_at_mark(chunk[:_MARK_BYTES_MAX])
                fed += len(chunk)
                self._parser.Parse(chunk, False)
                if fed - self._parser.CurrentByteIndex > TOKEN_BYTES_MAX + CHUNK_BYTES:
                    self._refuse(f"a tag or a comment is longer than {TOKEN_BYTES_MAX:,} bytes")
                yield
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise XmlRefused(error.lineno, f"the XML is broken: {expat.ErrorString(error.code)}") from error
        yield

    def _look_at_mark(self, beginning: bytes) -> None:
        for mark, encoding in _OTHER_MARKS.items():
            if beginning.startswith(mark):
                self._refuse(f"the document is written in {encoding}, and not in UTF-8")

    def _declare(self, version: str, encoding: str | None, _standalone: int) -> None:
        if version != "1.0":
            self._refuse("the document is of another version of XML than 1.0")
        self.is_latin = encoding is not None and encoding.lower() == "iso-8859-1"
        if encoding is not None and encoding.lower() not in ENCODINGS:
            self._refuse(f"the document declares the encoding {encoding[:NAME_CHARACTERS_MAX]!r}, and not UTF-8")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        namespace, _, name = tag.rpartition(" ")
        if self._depth == DEPTH_MAX:
            self._refuse(f"elements lie deeper than {DEPTH_MAX} in each other")
        if len(name) > NAME_CHARACTERS_MAX:
            self._refuse(f"an element's name is longer than {NAME_CHARACTERS_MAX} characters")
        self._depth += 1
        self._listener.start(namespace, name, attributes)

    def _end(self, _tag: str) -> None:
        self._listener.end()
        self._depth -= 1

    def _refuse_doctype(self, *_: Any) -> None:
        self._refuse("the document has a document type, which no message needs and which can define entities")

    def _refuse(self, what: str) -> None:
        raise XmlRefused(self.line, what)
