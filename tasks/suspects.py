"""Photos whose label is probably wrong, for a person to look at.

Confident learning (Northcutt, Jiang, Chuang 2021) on out-of-fold probabilities: twenty lines, where the
library cleanlab would bring pandas along. Knows embeddings and labels. Removes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_FOLDS: Final = 5


@dataclass(frozen=True)
class Suspect:
    """row: which photo. likely: the class that others like it have. margin: how sure that is, above 0."""

    row: int
    given: str
    likely: str
    margin: float


def suspects(embeddings: NDArray[np.float32], labels: NDArray[np.str_], seed: int = 0) -> list[Suspect]:
    """The suspected rows, the surest first.

    embeddings: [N, D] of a backbone that never saw these labels. labels: [N]. A class of fewer than five
    photos cannot be judged; its photos are left out.
    """
    names, counts = np.unique(labels, return_counts=True)
    judged = names[counts >= _FOLDS]
    rows = np.flatnonzero(np.isin(labels, judged))
    if len(judged) < 2:
        return []
    truth = labels[rows]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    probabilities = cross_val_predict(model, embeddings[rows], truth, cv=folds, method="predict_proba")
    given = np.searchsorted(judged, truth)
    likely, margins = confident(probabilities, given)
    order = [n for n in np.argsort(-margins, kind="stable") if likely[n] != given[n]]
    return [
        Suspect(int(rows[n]), str(truth[n]), str(judged[likely[n]]), round(float(margins[n]), 4))
        for n in order
    ]


def confident(
    probabilities: NDArray[np.float64], given: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The class [N] that each row most confidently has, and by how much [N] that beats its given one.

    probabilities: [N, C], out of fold. given: [N]. Each class is measured against the mean probability that
    it has among the photos labelled so, since a model is surer of some classes than of others.
    """
    every = range(probabilities.shape[1])
    thresholds = np.array([probabilities[given == one, one].mean() for one in every])  # [C]
    excess = probabilities - thresholds  # [N, C]
    likely = excess.argmax(1)
    rows = np.arange(len(given))
    return likely, excess[rows, likely] - excess[rows, given]
