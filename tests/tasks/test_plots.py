"""Plots: what is drawn is what the numbers say, whatever classes are called."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from pawloop.decision import Costs
from tasks import charts, pictures, plots
from tasks.answer import Answers
from tasks.cardtext import classes_markdown, table
from tasks.evaluate import evaluate
from tasks.fonts import font

ODD = ("price_$1_to_$5", "_background", "a\\b^{c} %", "<unknown>")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "png", lambda figure: drawn.append(figure) or b"")
    return drawn


def test_classes_of_any_name_can_be_drawn() -> None:
    labels = np.array(ODD * 3)
    statistics = {"brightness": np.arange(12, dtype=np.float32)}
    assert charts.histograms(statistics, labels, ODD).startswith("data:image/png")
    assert plots.confusion(np.eye(4, dtype=int).tolist(), ODD)


def test_a_long_name_leaves_the_curves_their_room(figures: list[Figure]) -> None:
    classes, labels = ("dog", "ж" * 80), np.array([0, 1] * 4)
    probabilities = np.eye(2, dtype=np.float32)[labels] * 0.8 + 0.1
    found = evaluate(Answers.of(probabilities), labels, classes, Costs(((0.0, 1.0), (1.0, 0.0)), ask=0.5))
    plots.one_against_all(probabilities, labels, found)
    (figure,) = figures
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert all(len(text.get_text()) < 32 for text in legend.get_texts())


@pytest.mark.parametrize("scores", [[0.5] * 8, [0.9, 0.9, 0.9, 0.4, 0.4, 0.1, 0.1, 0.1]])
def test_the_area_under_a_drawn_curve_is_the_one_that_the_legend_states(
    scores: list[float], figures: list[Figure]
) -> None:
    labels = np.array([0, 1, 0, 1, 1, 0, 1, 1])
    probabilities = np.stack([np.array(scores), 1 - np.array(scores)], axis=1).astype(np.float32)
    classes, costs = ("_cat", "dog"), Costs(((0.0, 1.0), (1.0, 0.0)), ask=0.5)
    found = evaluate(Answers.of(probabilities), labels, classes, costs)
    plots.one_against_all(probabilities, labels, found)
    [figure] = figures
    for axes, areas in zip(
        figure.axes, ([one.roc_auc, one.average_precision] for one in found.classes.values()), strict=True
    ):
        assert len(axes.get_legend().get_texts()) == len(classes), areas
    for place, one in enumerate(found.classes.values()):
        roc, precision = (axes.lines[place] for axes in figure.axes)
        assert roc.get_drawstyle() == "default"
        assert np.trapezoid(roc.get_ydata(), roc.get_xdata()) == pytest.approx(one.roc_auc)
        assert precision.get_drawstyle() == "steps-pre"
        x, y = (np.asarray(data, float) for data in precision.get_data())
        assert np.abs(np.diff(x) * y[1:]).sum() == pytest.approx(one.average_precision)


def test_of_very_many_classes_the_matrix_has_no_names(figures: list[Figure]) -> None:
    plots.confusion(np.eye(60, dtype=int).tolist(), [f"class {number}" for number in range(60)])
    [axes] = figures[0].axes
    assert not axes.get_xticks().size
    assert not axes.texts


def test_a_caption_is_as_wide_as_its_tile_and_keeps_both_ends_of_a_name() -> None:
    said = pictures._said(("american_pit_bull_terrier", "american_bulldog"), 0, 0.97, 1)
    first, second = said.splitlines()
    assert first.startswith("97% americ")
    assert first.endswith("terrier")
    assert all(font(line, 10).getlength(line) <= 120 for line in (first, second))


def test_a_cell_of_a_card_is_text_and_nothing_else() -> None:
    assert table(("class",), [("<b>|x\ny",)]).splitlines()[-1] == "| &lt;b>\\|x y |"


def test_a_class_without_test_photos_has_no_recall_and_comes_last() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]], np.float32)
    costs = Costs(tuple(tuple(float(a != b) for a in range(3)) for b in range(3)), ask=0.5)
    found = evaluate(Answers.of(probabilities), np.array([0, 1, 0]), ("cat", "dog", "cow"), costs)
    rows = classes_markdown(found.for_card()).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| cat", "| dog", "| cow"]
    assert rows[-1].split(" | ")[3] == "–"
