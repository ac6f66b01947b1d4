"""What the numbers of training say of what was promised: a line a target, with what was found.

Knows the targets of training. Knows nothing about how the numbers came about or how they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bench import sprint
from bench.claims import Claim, at_least, at_most
from bench.extraction import Speeds
from bench.pooled import Pooled, Share
from bench.sprint import Point, Sprint
from bench.took import Took

# Of the released file, by problem and backbone.
ACCURACIES: Final = {
    ("pets", "efficientnet_lite0"): 0.99,
    ("pets", "mobilenet_v2"): 0.985,
    ("digits", "efficientnet_lite0"): 0.985,
    ("digits", "mobilenet_v2"): 0.985,
}
_FASTER: Final = 20.0
_FASTER_AGAIN: Final = 100.0
_CALIBRATION: Final = 1.1
_EXTRACTION: Final = 0.85
_STRANGERS_REFUSED: Final = 0.99
_FRIENDS_REFUSED: Final = 0.02


@dataclass
class Results:
    """All that was measured, None or empty where it was not asked for or cannot be had here."""

    sprint: Sprint | None = None
    pooled: list[Pooled] = field(default_factory=list)
    speeds: list[Speeds] = field(default_factory=list)


def claims(results: Results) -> list[Claim]:
    """Every target that was measured, in the order of their numbers."""
    made: list[Claim] = []
    if results.sprint:
        made += _sprint(results.sprint)
    for one in results.pooled:
        made += _pooled(one)
    for speeds in results.speeds:
        text = f"{speeds.backbone}, photos a second into the store by the bare loop's"
        made.append(at_least("4", text, speeds.ratio, _EXTRACTION, f" (by CPU time {speeds.cpu_ratio:.2f})"))
    return sorted(made, key=lambda claim: claim.number)


def _sprint(found: Sprint) -> list[Claim]:
    target = found.targets()[-1]
    peer = sprint.soonest(found.peer, target)
    assert peer is not None  # the target is one of its own
    return [
        _faster(f"{target:.4f}, the usual recipe's best, first night", peer, found.first, target, _FASTER),
        _faster(f"{target:.4f} again, 5 % new photos", peer, found.again, target, _FASTER_AGAIN),
    ]


def _faster(text: str, peer: Took, ours: list[Point], target: float, times: float) -> Claim:
    took = sprint.soonest(ours, target)
    if took is None:
        best = max((one.accuracy for one in ours), default=0.0)
        return Claim(
            "1", f"time to {text}: at least {times:g} times faster", f"only {best:.4f} reached", False
        )
    note = f" times ({peer.wall_s:.1f} s by {took.wall_s:.2f} s; by CPU time {peer.cpu_s / took.cpu_s:.0f})"
    return at_least(
        "1", f"time to {text}, the usual recipe's by ours", peer.wall_s / took.wall_s, times, note
    )


def _pooled(found: Pooled) -> list[Claim]:
    who = f"{found.problem}, {found.backbone}"
    right, frozen = found.share(lambda fold: fold.right), found.share(lambda fold: fold.frozen)
    made = [Claim("2", f"{who}, accuracy of the frozen head", _with_interval(frozen), None)]
    target = ACCURACIES.get((found.problem, found.backbone))
    if target is None:
        made.append(Claim("2", f"{who}, accuracy of the released file", _with_interval(right), None))
    else:
        text = f"{who}, accuracy of the released file: at least {target:g}"
        made.append(Claim("2", text, _with_interval(right), right.value >= target))
    if found.peers:
        ours, best = found.folds[0].right, max(map(sprint.best, found.peers.values()))
        text = f"{who}, one fold: the usual recipe's best in 10 times the time ({best:.4f}), or more"
        made.append(Claim("2", text, f"{ours.value:.4f}", ours.value >= best))
    if found.problem == "pets":
        made += [_calibration(who, found), *_unfamiliar(who, found)]
    return made


def _calibration(who: str, found: Pooled) -> Claim:
    text = f"{who}, log-loss by that of the best temperature in hindsight"
    right = found.share(lambda fold: fold.right)
    if right.part == right.whole:  # hindsight would be certain of everything
        return Claim("3", f"{text}: at most {_CALIBRATION:g}", "no photo was wrong, so there is none", None)
    note = f" ({found.log_loss:.4f} by {found.hindsight:.4f})"
    return at_most("3", text, found.log_loss / found.hindsight, _CALIBRATION, note)


def _unfamiliar(who: str, found: Pooled) -> list[Claim]:
    friends = found.share(lambda fold: fold.refused)
    text = f"{who}, unseen cats and dogs refused: at most {_FRIENDS_REFUSED:g}"
    made = [Claim("5", text, _with_interval(friends), friends.value <= _FRIENDS_REFUSED)]
    for kind, share in found.strangers().items():
        least = _STRANGERS_REFUSED if kind == "digits" else 1.0
        text = f"{who}, {kind} refused: at least {least:g}"
        made.append(Claim("5", text, _with_interval(share), share.value >= least))
    return made


def _with_interval(share: Share) -> str:
    low, high = share.interval
    return f"{share.value:.4f} ({low:.4f} to {high:.4f}; {share.part} of {share.whole})"
