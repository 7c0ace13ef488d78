"""Writes the lines that are kept of a new phrase book, and prints its digest.

`python -m tests.decide.phrase_books.release VERSION`; it refuses a version whose lines are kept already.
"""

from __future__ import annotations

from ops.processes.arguments import arguments
from pipeline.decide.phrase_books.books import BOOKS
from tests.decide.phrase_books.test_released import HERE, digest
from tests.decide.phrase_books.wording import FEW, lines


def main() -> None:
    [version] = arguments(__doc__, "VERSION")
    book = BOOKS[version]
    with (HERE / f"v{version}.txt").open("x", encoding="utf-8") as kept:
        kept.writelines(f"{line}\n" for line in dict.fromkeys(lines(book, FEW)))
    print(digest(book))


if __name__ == "__main__":
    main()
