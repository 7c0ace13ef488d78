"""The policy's table of drills: what it takes, and what it refuses."""

import pytest

from pipeline.decide.policy import PolicyRefused, parse_policy
from pipeline.drills.drills import MEASURES, DrillName
from pipeline.io.settings import Settings

TEXT = Settings.model_construct().policy_path.read_text(encoding="utf-8")
START, END = TEXT.index("[drills]"), TEXT.index("# Last, so that a file")


def with_drills(table: str) -> bytes:
    return (TEXT[:START] + table + TEXT[END:]).encode()


def test_shipped_policy_has_an_objective_for_every_measure_of_every_drill():
    drills = parse_policy(TEXT.encode()).drills
    for drill in DrillName:
        objective = drills.of(drill)
        assert [measure for measure in MEASURES[drill] if getattr(objective, measure) is None] == []


def test_a_policy_without_the_table_is_read_and_has_no_objectives():
    assert parse_policy(with_drills("")).drills is None


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("[drills]\nobjectives = []\n", "every_days"),
        ("[drills]\nevery_days = 0\nobjectives = []\n", "every_days"),
        ("[drills]\nevery_days = 367\nobjectives = []\n", "every_days"),
        ('[drills]\nevery_days = 92\nobjectives = [{ drill = "mdoel-blocks" }]\n', "there is no drill"),
        ('[drills]\nevery_days = 92\nobjectives = [{ drill = "drift" }, { drill = "drift" }]\n', "two objectives"),
        ('[drills]\nevery_days = 92\nobjectives = [{ drill = "drift", detect = 1 }]\n', "unknown key"),
        ('[drills]\nevery_days = 92\nobjectives = [{ drill = "drift", detect_s = 1.5 }]\n', "detect_s"),
        ('[drills]\nevery_days = 92\nobjectives = [{ drill = "drift", detect_s = true }]\n', "detect_s"),
        ('[drills]\nevery_days = 92\nobjectives = [{ drill = "rail-lost", trip_s = 9 }]\n', "trip_s is nothing"),
        ('[drills]\nevery_days = 92\nobjectives = [{ drill = "drift", leaked_minor = { gbp = 1 } }]\n', "leaked_minor"),
        ('[drills]\nevery_days = 9\nobjectives = [{ drill = "drift", leaked_minor = { GBP = -1 } }]\n', "leaked_minor"),
    ],
)
def test_what_is_no_table_of_drills_is_refused(table, why):
    with pytest.raises(PolicyRefused, match=why):
        parse_policy(with_drills(table))
