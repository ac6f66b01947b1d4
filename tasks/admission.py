"""Which of a candidate's files may serve, by the gate's verdict on each.

Knows files' answers and verdicts. Knows nothing about how either comes about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pawloop.card import Bar, Precision, Variant, Verdict
from pawloop.printable import some_of
from pawloop.problem import Problem
from tasks import gate
from tasks.bars import FileFacts
from tasks.gate import Challenger
from tasks.manifest import Dataset
from tasks.rivals import Rivals
from tasks.slices import slices
from tasks.variants import Judged

_RANK: Final = ("promote", "cannot tell", "refuse")


def verdicts(
    judged: Mapping[Precision, Judged],
    rivals: Rivals,
    dataset: Dataset,
    problem: Problem,
    facts: FileFacts,
    network: str,
) -> dict[Precision, Verdict]:
    """The gate's verdict on each file's own answers, as if it were the only one.

    facts: of float32's file. network: SHA-256 of the weights. One that a person took out of service does not
    come back by itself, however it is judged; nor does one take over that lacks classes of the champion.
    """
    rows, asked, groups = slices(dataset.photos("test")), rivals.load(), dataset.groups("test")
    found = {
        precision: gate.judge(
            Challenger(one.answers(), one.evaluation, facts, network),
            one.labels(),
            asked,
            rows,
            problem.costs,
            problem.gate,
            groups,
        )
        for precision, one in judged.items()
    }
    why = rivals.taken_back.get(network)
    if why:
        found = {precision: _refused(one, why) for precision, one in found.items()}
    if rivals.lost:
        found = {precision: _doubted(one, rivals.lost) for precision, one in found.items()}
    return found


def withheld(
    variants: Mapping[Precision, Variant], found: Mapping[Precision, Verdict]
) -> dict[Precision, Variant]:
    """The variants, int8 no longer admitted where the gate thinks less of it than of float32."""
    int8, by_gate = variants["int8"], found["int8"]
    if not int8.admitted or _RANK.index(by_gate.outcome) <= _RANK.index(found["float32"].outcome):
        return dict(variants)
    update = {"admitted": False, "reason": f"by the gate {by_gate.summary}"}
    return {**variants, "int8": int8.model_copy(update=update)}


def _doubted(verdict: Verdict, lost: Sequence[str]) -> Verdict:
    """As another problem's file would have it that was given this problem's name by mistake."""
    bar = Bar(name="classes of the champion", asked="none is gone", got=f"gone: {some_of(lost)}", passed=None)
    bars = [*verdict.bars, bar]
    if verdict.outcome != "promote":
        return verdict.model_copy(update={"bars": bars})
    told = (
        f"cannot tell: whoever asks the champion may be told {some_of(lost)}, which this problem no longer "
        "has; if that is meant, promote this run by hand and say so, else correct classes or name of its file"
    )
    return Verdict(outcome="cannot tell", summary=told, bars=bars)


def _refused(verdict: Verdict, why: str) -> Verdict:
    bar = Bar(name="a network that nobody took back", asked="yes", got=why, passed=False)
    told = f"refused: the very same network was in service before: {why}"
    return Verdict(outcome="refuse", summary=told, bars=[*verdict.bars, bar])
