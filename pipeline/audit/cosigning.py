"""Whether a head that the witness is shown continues what it has seen.

Invariants
1. Of each partition the witness sees one history: a head is seen only if it names the one seen before and a proof shows
   that its tree only adds to that one's. It reads no leaf, so it can't learn what is in the log.
2. What was seen once is never unseen: a refused head changes nothing, nor does any that follows it.
"""

from __future__ import annotations

from pipeline.audit.chain import is_consistent
from pipeline.audit.head import head_of_anchor
from pipeline.audit.witness import SeenHead, seen_head
from pipeline.domain.anchor import Anchor


class Contradiction(str):
    """Why a head does not continue what was seen, in words without a full stop."""


def continued(before: SeenHead | None, anchor: Anchor) -> SeenHead | Contradiction:
    """The head as seen, which is `before` where it was published again. The signature was checked."""
    shown = seen_head(head_of_anchor(anchor))
    if before is None or shown == before:
        return shown
    place = f"the head of size {anchor.tree_size} of partition {anchor.partition} of {anchor.topic}"
    if anchor.tree_size <= before.tree_size:
        return Contradiction(f"{place} is another history than the one of size {before.tree_size} that was seen")
    if anchor.previous != before.head:
        return Contradiction(f"{place} does not name the one of size {before.tree_size} that was seen")
    if not is_consistent(before.tree_size, anchor.tree_size, before.root, anchor.root, anchor.consistency):
        return Contradiction(f"the proof that {place} only adds to the one of size {before.tree_size} does not hold")
    return shown
