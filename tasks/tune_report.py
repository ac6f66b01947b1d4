"""The report of a search, as one page of Markdown for the Prefect UI.

Knows Optuna's studies and its plots. Knows nothing about Prefect.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import optuna
from matplotlib import pyplot
from matplotlib.figure import Figure
from optuna.trial import TrialState

from tasks import plots
from tasks.cardtext import table
from tasks.tune import Search

_SHOWN = 12
_LIMIT_BYTES = 200_000


def tune_report(search: Search, gained: str) -> str:
    """The best trials, the line that says what was gained, and the usual plots.

    gained: one line. A plot that would take the page past 200 kB is left out, and so is one that needs
    more trials than there are.
    """
    done = search.done
    header = ("trial", "network", "rate", "decay", "smoothing", "validation log-loss", "seconds")
    rows = [
        (
            one.number,
            one.params["network"],
            f"{one.params['rate']:.2g}",
            f"{one.params['decay']:.2f}",
            f"{one.params['smoothing']:.3f}",
            f"{one.values[0]:.4f}",
            f"{one.duration.total_seconds():.0f}" if one.duration else "–",
        )
        for one in done[:_SHOWN]
    ]
    states = [one.state for one in search.study.get_trials(deepcopy=False)]
    stopped = states.count(TrialState.PRUNED)
    told = f"{len(done)} trials came to their end, {stopped} were stopped early as hopeless."
    text = f"# Search for {search.problem.name}\n\n{gained}\n\n{told}\n\n{table(header, rows)}"
    for heading, draw in _PLOTS:
        picture = _drawn(heading, draw, search.study)
        if picture and len(text) + len(picture) < _LIMIT_BYTES:
            text += picture
    return text


_PLOTS: tuple[tuple[str, Callable[[optuna.Study], object]], ...] = (
    ("History", optuna.visualization.matplotlib.plot_optimization_history),
    ("Importance", optuna.visualization.matplotlib.plot_param_importances),
    ("Parallel coordinates", optuna.visualization.matplotlib.plot_parallel_coordinate),
)


def _drawn(heading: str, draw: Callable[[optuna.Study], object], study: optuna.Study) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that few trials, all alike, make a poor plot
        try:
            axes = draw(study)
        except (ValueError, RuntimeError):  # its word for too few trials, or for trials all alike
            return ""
    figure: Figure = axes.figure  # type: ignore[attr-defined]  # Optuna's plots are untyped
    figure.set_size_inches(7, 4)
    picture = plots.inline(plots.png(figure), heading)
    pyplot.close(figure)
    return f"\n\n## {heading}\n\n{picture}"
