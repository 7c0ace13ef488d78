"""A page's words can be read in its colours, on a light screen and on a dark one.

The least contrast is that of WCAG 2.2, 1.4.3 (AA).
"""

from __future__ import annotations

import re

import pytest

from pipeline.web.html import STYLE

CONTRAST_MIN = 4.5
WORDS = ("ink", "soft", "go", "stop", "wait", "link")
UNDER_WORDS = ("paper", "tint")


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def colours() -> dict[str, dict[str, str]]:
    light, dark = (
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", found)) for found in re.findall(r":root {(.*?)}", STYLE, re.S)
    )
    return {"light": light, "dark": dark}


def test_both_screens_have_every_colour() -> None:
    assert {*WORDS, *UNDER_WORDS, "rule"} == colours()["light"].keys() == colours()["dark"].keys()


@pytest.mark.parametrize("screen", ["light", "dark"])
def test_words_can_be_read(screen: str) -> None:
    """Badges are the same two colours the other way round."""
    found = colours()[screen]
    faint = {
        (word, under): contrast(found[word], found[under])
        for word in WORDS
        for under in UNDER_WORDS
        if contrast(found[word], found[under]) < CONTRAST_MIN
    }
    assert {} == faint


def test_colours_are_those_of_the_screen() -> None:
    """Drawings stay as they are, on white; any other colour would be shown on a dark screen, too."""
    others = re.sub(r":root {.*?}", "", STYLE, flags=re.S)
    [drawings] = re.findall(r"svg {(.*?)}", others, re.S)
    light = colours()["light"]
    assert {name: light[name] for name in ("ink", "soft", "rule", "tint")} == dict(
        re.findall(r"--(\w+): (#[0-9a-f]{6})", drawings)
    )
    assert [] == re.findall(r"#[0-9a-f]{3,6}\b", others.replace(drawings, ""))
