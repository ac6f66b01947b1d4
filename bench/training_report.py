"""Training's numbers as a page and a picture.

Knows Markdown and plots. Knows nothing about how anything was measured.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure
from PIL import Image

from bench import sprint
from bench.extraction import Speeds
from bench.pooled import Pooled, Share
from bench.reference import Epoch
from bench.sprint import Point, Sprint
from bench.took import Took
from bench.training_claims import Results, claims
from pawloop import durable

_COLOURS: Final = 32
_AXIS_FROM: Final = 0.5  # accuracy


def write(out: Path, name: str, results: Results, remarks: Sequence[str]) -> str:
    """`NAME.md` and its picture in a folder; the page. remarks: what a reader must know of this run."""
    out.mkdir(parents=True, exist_ok=True)
    if results.sprint:
        durable.write_bytes(out / f"{name}.png", picture(results.sprint))
    text = page(name, results, remarks)
    durable.write_bytes(out / f"{name}.md", text.encode())
    return text


def page(name: str, results: Results, remarks: Sequence[str]) -> str:
    """The page, in Markdown."""
    lines = ["# Training, measured", "", *(f"- {remark}" for remark in remarks)]
    lines += ["", "What they mean: [training-notes.md](training-notes.md)."]
    if results.sprint:
        lines += ["", *_sprint(name, results.sprint)]
    if results.pooled:
        lines += ["", *_pooled(results.pooled)]
    if any(one.strangers() for one in results.pooled):
        lines += ["", *_refusals([one for one in results.pooled if one.strangers()])]
    if results.speeds:
        lines += ["", *_speeds(results.speeds)]
    lines += ["", "## Targets", "", "| number | asked | found | |", "|---|---|---|---|"]
    marks = {True: "met", False: "**missed**", None: ""}
    lines += [f"| {c.number} | {c.asked} | {c.found} | {marks[c.is_met]} |" for c in claims(results)]
    return "\n".join(lines) + "\n"


def picture(found: Sprint) -> bytes:
    """Accuracy against seconds: each of our trainings a point, the peer's epochs a line a rate; PNG."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    for number, (rate, epochs) in enumerate(found.peers.items()):
        axis.plot(
            [one.took.wall_s for one in epochs], [one.accuracy for one in epochs],
            marker="o", color=f"C{number}", label=f"the usual recipe, rate {rate:g}, an epoch a point",
        )  # fmt: skip
    for label, points, mark in (
        ("Pawloop, first night", found.first, "s"),
        ("Pawloop, 5 % new", found.again, "^"),
    ):
        axis.scatter(
            [one.took.wall_s for one in points], [one.accuracy for one in points],
            marker=mark, color="black" if mark == "s" else "grey", label=label, zorder=3,
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_ylim(_AXIS_FROM, 1.0)
    axis.set_xlabel("seconds of training (logarithmic)")
    axis.set_ylabel(f"accuracy on {found.held_count:,} held-out photos")
    axis.set_title(f"{found.photo_count} photos of cats and dogs, mobilenet_v2", fontsize=10)
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize=8, loc="lower left")
    stream, small = io.BytesIO(), io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    Image.open(stream).convert("RGB").quantize(_COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()


def _sprint(name: str, found: Sprint) -> list[str]:
    rows = [(f"**{one.name}**", one.took, one.accuracy) for one in [*found.first, *found.again]]
    for rate, epochs in found.peers.items():
        rows += [
            (f"the usual recipe, rate {rate:g}, epoch {number}", one.took, one.accuracy)
            for number, one in enumerate(epochs, start=1)
        ]
    lines = [
        f"## Time to accuracy: {found.photo_count} photos to learn from, {found.held_count:,} held out",
        "",
        "| training | seconds | seconds of CPU | accuracy |",
        "|---|---|---|---|",
        *(f"| {who} | {took.wall_s:.2f} | {took.cpu_s:.2f} | {right:.4f} |" for who, took, right in rows),
    ]
    if not found.peers:
        return lines
    lines += [
        "",
        f"![Accuracy against seconds]({name}.png)",
        "",
        "| accuracy to reach | usual recipe, s | ours, s | times faster | 5 % new, s | times faster |",
        "|---|---|---|---|---|---|",
    ]
    for target in found.targets():
        peer = sprint.soonest(found.peer, target)
        cells = [*_beside(peer, found.first, target), *_beside(peer, found.again, target)]
        lines.append(f"| {target:.4f} | {_seconds(peer)} | {' | '.join(cells)} |")
    return lines


def _beside(peer: Took | None, ours: Sequence[Point | Epoch], target: float) -> list[str]:
    took = sprint.soonest(ours, target)
    return [_seconds(took), f"{peer.wall_s / took.wall_s:.0f}" if peer and took else ""]


def _seconds(took: Took | None) -> str:
    return f"{took.wall_s:.2f}" if took else "not reached"


def _pooled(pooled: Sequence[Pooled]) -> list[str]:
    lines = [
        "## Accuracy over folds",
        "",
        "Each photo tests once. In brackets Wilson's 95 % interval of all folds together; log-loss is the "
        "released file's, and what the best temperature on these very test photos would have given.",
        "",
        "| problem | backbone | folds | frozen head | released | log-loss | in hindsight | s a training |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in pooled:
        cells = [
            one.problem,
            one.backbone,
            str(len(one.folds)),
            _share(one.share(lambda fold: fold.frozen)),
            f"**{_share(one.share(lambda fold: fold.right))}**",
            f"{one.log_loss:.4f}",
            f"{one.hindsight:.4f}",
            f"{statistics.median(fold.took.wall_s for fold in one.folds):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for one in pooled:
        if one.peers:
            lines += ["", _rival(one)]
    return lines


def _rival(one: Pooled) -> str:
    curves = (
        f"at rate {rate:g} "
        + ", ".join(f"{epoch.accuracy:.4f} after {epoch.took.wall_s:.0f} s" for epoch in epochs)
        for rate, epochs in one.peers.items()
    )
    ours = one.folds[0]
    return (
        f"On the first fold of the {one.problem}, {one.backbone}: ours {ours.right.value:.4f} after "
        f"{ours.took.wall_s:.0f} s, the usual recipe {'; '.join(curves)}."
    )


def _refusals(pooled: Sequence[Pooled]) -> list[str]:
    kinds = list(dict.fromkeys(kind for one in pooled for kind in one.strangers()))
    lines = [
        "## Refused as unfamiliar by the cat-vs-dog file",
        "",
        "| backbone | unseen cats and dogs | " + " | ".join(kinds) + " |",
        "|---" * (len(kinds) + 2) + "|",
    ]
    for one in pooled:
        found = one.strangers()
        shares = [one.share(lambda fold: fold.refused), *(found[kind] for kind in kinds)]
        cells = [f"{share.value:.1%} of {share.whole:,}" for share in shares]
        lines.append(f"| {' | '.join([one.backbone, *cells])} |")
    return lines


def _speeds(speeds: Sequence[Speeds]) -> list[str]:
    def middle(takes: Sequence[Took], count: int) -> str:
        return f"{count / statistics.median(one.wall_s for one in takes):.0f}"

    return [
        f"## Features into the store, medians of {len(speeds[0].ours)} rounds in turn",
        "",
        "| backbone | photos | bare loops, photos/s | ours, photos/s | ours by bare | … by CPU time |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one.backbone} | {one.photo_count:,} | {middle(one.bare, one.photo_count)} | "
            f"**{middle(one.ours, one.photo_count)}** | {one.ratio:.0%} | {one.cpu_ratio:.0%} |"
            for one in speeds
        ),
    ]


def _share(share: Share) -> str:
    low, high = share.interval
    return f"{share.value:.4f} ({low:.4f} to {high:.4f})"
