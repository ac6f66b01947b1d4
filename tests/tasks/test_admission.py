"""Which of a version's files may serve."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from pawloop.card import Precision, Variant, Verdict
from tasks import weigh
from tasks.admission import verdicts as verdicts_of
from tasks.admission import withheld
from tasks.rivals import Rivals
from tests.tasks import small

Outcome = Literal["promote", "cannot tell", "refuse"]
BOTH: dict[Precision, Variant] = {"float32": small.variant(), "int8": small.variant()}


def verdicts(float32: Outcome, int8: Outcome) -> dict[Precision, Verdict]:
    return {
        "float32": Verdict(outcome=float32, summary="of float32", bars=[]),
        "int8": Verdict(outcome=int8, summary="refused: slice source = night", bars=[]),
    }


@pytest.mark.parametrize("int8", ["cannot tell", "refuse"])
def test_int8_that_the_gate_thinks_less_of_than_of_float32_does_not_serve(int8: Outcome) -> None:
    kept = withheld(BOTH, verdicts("promote", int8))
    assert kept["float32"] == BOTH["float32"]
    assert not kept["int8"].admitted
    assert kept["int8"].reason == "by the gate refused: slice source = night"


def test_int8_that_was_not_admitted_keeps_its_reason() -> None:
    dear = BOTH["int8"].model_copy(update={"admitted": False, "reason": "its cost"})
    assert withheld({**BOTH, "int8": dear}, verdicts("promote", "refuse"))["int8"] == dear


@pytest.mark.parametrize("both", ["promote", "cannot tell", "refuse"])
def test_int8_that_is_judged_as_float32_is_goes_with_it(both: Outcome) -> None:
    assert withheld(BOTH, verdicts(both, both)) == BOTH


def test_a_network_that_a_person_took_back_does_not_return_by_itself(tmp_path: Path) -> None:
    about = small.problem(tmp_path / "photos", gate={"minimum_accuracy": 0.0, "minimum_recall": 0.0})
    candidate, dataset, judged = small.judged(about, tmp_path / "store")
    facts = weigh.weigh(candidate, None)
    for network, outcome in (("a" * 64, "refuse"), ("b" * 64, "promote")):
        rivals = Rivals(taken_back={"a" * 64: "it is version 2, taken back: worse at night"})
        found = verdicts_of({"float32": judged}, rivals, dataset, about, facts, network)["float32"]
        assert found.outcome == outcome, found.summary
        assert ("worse at night" in found.summary) == (outcome == "refuse")


def test_a_model_that_lacks_classes_of_the_champion_takes_over_by_no_run(tmp_path: Path) -> None:
    about = small.problem(tmp_path / "photos", gate={"minimum_accuracy": 0.0, "minimum_recall": 0.0})
    candidate, dataset, judged = small.judged(about, tmp_path / "store")
    facts = weigh.weigh(candidate, None)
    for accuracy, outcome in ((0.0, "cannot tell"), (1.0, "refuse")):
        asked = about.model_copy(
            update={"gate": about.gate.model_copy(update={"minimum_accuracy": accuracy})}
        )
        rivals = Rivals(lost=("bird", "hen"))
        found = verdicts_of({"float32": judged}, rivals, dataset, asked, facts, "a" * 64)["float32"]
        assert found.outcome == outcome, found.summary
        assert found.bars[-1].got == "gone: bird, hen"
    assert (
        "may be told bird, hen"
        in verdicts_of({"float32": judged}, rivals, dataset, about, facts, "a" * 64)["float32"].summary
    )
