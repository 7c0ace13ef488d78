"""A card's words on the choice of features: which groups the model reads, which it leaves out, and on what evidence.

The manifest's record is whatever a training wrote: a card of before has none, and one that isn't understood is said to
be so rather than guessed at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from models.artefact.strict import Json
from models.card.content.blocks import Block, Inline, Paragraph, Table
from models.card.content.texts import named
from models.card.words import UNKNOWN, percent

SETS_MAX: Final = 16
"""Most sets on a card: all that four groups make."""
GIVEN: Final = (
    "Which features it sees was given to its training, or isn't recorded: nothing shows that each of them is worth its "
    "place."
)


def feature_choice(training: Mapping[str, Json]) -> Iterator[Block]:
    choosing = training.get("choosing")
    features = choosing.get("features") if isinstance(choosing, dict) else None
    if not isinstance(features, dict) or features.get("kind") != "walk-forward":
        yield Paragraph([GIVEN])
        return
    groups, chosen = features.get("groups"), features.get("chosen")
    sets = _objects(features.get("sets"))
    if not isinstance(groups, dict) or type(chosen) is not int or not 0 <= chosen < len(sets):
        yield Paragraph(["How its features were chosen is recorded in a form that this card doesn't understand."])
        return
    yield Paragraph(_sentence(groups, _texts(sets[chosen].get("groups"))))
    header = (
        "groups of features",
        "average precision by validation period",
        "mean",
        "behind the best",
        "what may be noise in that",
    )
    yield Table(header, [_row(each, place == chosen) for place, each in enumerate(sets[:SETS_MAX])])


def _objects(value: Json) -> list[dict[str, Json]]:
    """Return a list of objects; an empty one where it is anything else."""
    found = value if isinstance(value, list) else []
    objects = [each for each in found if isinstance(each, dict)]
    return objects if len(objects) == len(found) else []


def _sentence(groups: Mapping[str, Json], taken: Sequence[str]) -> list[Inline]:
    words: list[Inline] = ["Groups of features had to earn their place on validation periods. "]
    for group, names in sorted(groups.items()):
        words += [f"It {'reads' if group in taken else 'leaves out'} {group} (", *named(_texts(names)), "). "]
    words.append(
        "The fewest groups were taken whose mean average precision is behind that of the best set by no more than may "
        "be noise, as told by the same payments; where that can't be told, no group is taken."
    )
    return words


def _row(each: Mapping[str, Json], is_chosen: bool) -> list[Sequence[Inline]]:
    names = ", ".join(_texts(each.get("groups"))) or "none"
    precisions = each.get("average_precision_ppm")
    periods = ", ".join(map(_share, precisions)) if isinstance(precisions, list) else UNKNOWN
    figures = (_share(each.get(name)) for name in ("mean_ppm", "behind_best_ppm", "noise_ppm"))
    return [[f"{names}, chosen" if is_chosen else names], [periods], *([figure] for figure in figures)]


def _texts(value: Json) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _share(value: Json) -> str:
    return percent(value) if type(value) is int else UNKNOWN
