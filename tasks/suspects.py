"""Photos whose label is probably wrong, for a person to look at.

Confident learning (Northcutt, Jiang, Chuang 2021), by the library cleanlab, on out-of-fold probabilities of
a small model on embeddings. Knows embeddings and labels. Removes nothing (see `verdict`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits

from tasks.doubted import Suspect

_FOLDS: Final = 5
# Share of a class that is found out of fold; below it photos look like others', whatever is right.
_KNOWN: Final = 0.5
# Real photos with 1 % of labels swapped: 128 directions and this penalty put 98 % of the swapped cats and
# dogs and 90 % of the swapped hands (ten classes) among the first 2 %, in 0.3 s; all 1,280 and a weaker one
# 97 % and 80 %, in 1.4 to 6 s.
_DIRECTIONS: Final = 128
_STRENGTH: Final = 0.01
_MOST_FITTED: Final = 10_000  # photos that the directions are found among
_PART: Final = 4_096  # photos that are turned into them at once


def suspects(embeddings: NDArray[np.floating], labels: NDArray[np.str_], seed: int = 0) -> list[Suspect]:
    """The suspected rows, the worst label first, those of classes that cannot be judged last.

    embeddings: [N, D] of a backbone that never saw these labels. labels: [N]. A class of fewer than five
    photos is left out. One of which less than half is found by the other photos cannot be judged: none of
    its photos is held to be wrong.
    """
    from cleanlab.filter import find_label_issues  # with pandas: seconds to import, and only needed here
    from cleanlab.rank import get_label_quality_scores

    names, counts = np.unique(labels, return_counts=True)
    judged = names[counts >= _FOLDS]
    rows = np.flatnonzero(np.isin(labels, judged))
    if len(judged) < 2:
        return []
    given = np.searchsorted(judged, labels[rows])
    with threadpool_limits(1):  # more threads only wait for one another: 20 s of CPU instead of 0.3
        flat = _strongest(embeddings, rows, seed)
        probabilities = _out_of_fold(flat, given, seed)  # [M, C]
    quality = get_label_quality_scores(given, probabilities, method="confidence_weighted_entropy")
    is_confident = find_label_issues(given, probabilities, filter_by="confident_learning", n_jobs=1)
    likely = probabilities.argmax(1)
    found = np.bincount(given[likely == given], minlength=len(judged)) / counts[counts >= _FOLDS]
    is_known = found[given] >= _KNOWN
    return [
        Suspect(
            int(rows[n]),
            str(judged[given[n]]),
            str(judged[likely[n]]),
            round(float(quality[n]), 4),
            bool(is_confident[n] and is_known[n]),
        )
        for n in np.lexsort((quality, ~is_known))
        if likely[n] != given[n]
    ]


def _strongest(embeddings: NDArray[np.floating], rows: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """[M, K] of rows [M] in their strongest directions; of all embeddings only parts are copied."""
    some = embeddings[np.random.default_rng(seed).permutation(rows)[:_MOST_FITTED]].astype(np.float32)
    directions = PCA(min(_DIRECTIONS, *some.shape), svd_solver="randomized", random_state=seed).fit(some)
    parts = [rows[start : start + _PART] for start in range(0, len(rows), _PART)]
    flat: NDArray[np.float32] = np.concatenate(
        [directions.transform(embeddings[part].astype(np.float32)) for part in parts]
    )
    flat /= max(float(flat.std(0).mean()), 1e-12)
    return flat


def _out_of_fold(flat: NDArray[np.float32], given: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """[M, C] probabilities of each row by a model that was trained without it."""
    probabilities: NDArray[np.float64] = cross_val_predict(
        LogisticRegression(C=_STRENGTH, max_iter=200),
        flat,
        given,
        cv=StratifiedKFold(_FOLDS, shuffle=True, random_state=seed),
        method="predict_proba",
    )
    return probabilities
