"""The decision: least expected cost, or a question."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pawloop.decision import Costs, decide, incurred

EVEN = Costs(((0.0, 1.0), (1.0, 0.0)), ask=0.25)


def test_equal_costs_answer_the_likeliest_class() -> None:
    decisions = decide(np.array([[0.9, 0.1], [0.2, 0.8]]), EVEN)
    assert decisions.label.tolist() == [0, 1]
    assert decisions.reasons == (None, None)


def test_a_dear_mistake_moves_the_answer_but_no_probability() -> None:
    probabilities = np.array([[0.7, 0.3]])
    dear = Costs(((0.0, 1.0), (9.0, 0.0)), ask=2.0)
    assert decide(probabilities, dear).label.tolist() == [1]
    assert probabilities.tolist() == [[0.7, 0.3]]


def test_a_person_is_asked_when_that_is_cheaper_than_the_expected_mistake() -> None:
    decisions = decide(np.array([[0.7, 0.3], [0.76, 0.24]]), EVEN)
    assert decisions.reasons == ("cost", None)


def test_the_unfamiliar_is_asked_about_however_sure_the_answer() -> None:
    decisions = decide(np.array([[1.0, 0.0]]), EVEN, novelty=np.array([0.995]), novelty_threshold=0.99)
    assert decisions.reasons == ("unfamiliar",)


def test_a_question_costs_what_the_problem_says_and_a_mistake_what_it_costs() -> None:
    probabilities = np.array([[0.6, 0.4], [0.99, 0.01], [0.99, 0.01]])
    paid = incurred(np.array([0, 0, 1]), decide(probabilities, EVEN), EVEN)
    assert paid.tolist() == [0.25, 0.0, 1.0]


@given(st.floats(0, 1), st.floats(0.01, 1))
def test_no_answer_is_expected_to_cost_more_than_asking(p: float, ask: float) -> None:
    decisions = decide(np.array([[p, 1 - p]]), Costs(EVEN.mistake, ask))
    assert decisions.abstained[0] or decisions.expected[0] <= ask
