"""The `[drills]` table of the policy: how often drills are due, and what each is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.drills.drills import MEASURES, DrillName, Measure

EVERY_DAYS: Final = 92
"""A quarter of a year: how often a drill is due where the policy doesn't say."""
Seconds = Annotated[int, Field(strict=True, ge=1, le=86_400)]
Count = Annotated[int, Field(strict=True, ge=0, le=10**9)]
Currency = Annotated[str, Field(strict=True, pattern=r"^[A-Z]{3}$")]
AmountMinor = Annotated[int, Field(strict=True, ge=0, le=10**15)]
_STRICT: Final = ConfigDict(frozen=True, extra="forbid")


class Objective(BaseModel):
    """What a drill's figures may be at most; one that is left out is not met.

    leaked_minor: amounts by currency. An amount that leaks in a currency without a limit is over it.
    """

    model_config = _STRICT

    drill: DrillName
    detect_s: Seconds | None = None
    trip_s: Seconds | None = None
    page_s: Seconds | None = None
    recover_s: Seconds | None = None
    leaked: Count | None = None
    leaked_minor: Mapping[Currency, AmountMinor] | None = None

    @field_validator("drill", mode="before")
    @classmethod
    def _is_named(cls, named: object) -> object:
        known = ", ".join(DrillName)
        if named not in set(DrillName):
            raise ValueError(f"there is no drill {named!r:.60}; those that there are: {known}")
        return DrillName(str(named))


class Drills(BaseModel):
    model_config = _STRICT

    every_days: Annotated[int, Field(strict=True, ge=1, le=366)]
    objectives: Annotated[tuple[Objective, ...], Field(max_length=len(DrillName))]

    @field_validator("objectives")
    @classmethod
    def _are_distinct(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        named = Counter(objective.drill for objective in objectives)
        if twice := [drill for drill, count in named.items() if count > 1]:
            raise ValueError(f"the drill {twice[0]} has two objectives")
        for objective in objectives:
            for measure in set(Measure) - set(MEASURES[objective.drill]):
                if getattr(objective, measure) is not None:
                    raise ValueError(f"{measure} is nothing that the drill {objective.drill} has")
        return objectives

    def of(self, drill: DrillName) -> Objective | None:
        return next((each for each in self.objectives if each.drill is drill), None)
