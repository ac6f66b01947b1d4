"""Could a classifier cheat? How much of the classes the simplest statistics give away.

Knows numbers and classes. Knows nothing about photos.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

_MOST_ROWS: Final = 5_000
_FOLDS: Final = 5
# A model on statistics alone that beats guessing by so much knows the class from the camera, not the animal.
_SUSPICIOUS: Final = 0.15


@dataclass(frozen=True)
class Shortcut:
    """What the simplest statistics give away of the classes.

    accuracy: of a model on the statistics alone, each class counting the same. guessing: what chance gives.
    relation: by statistic, the share of its variance (in ranks) that the class explains. left_out: how many
    classes have too few photos to be asked about.
    """

    accuracy: float
    guessing: float
    relation: dict[str, float]
    left_out: int = 0

    @property
    def is_suspicious(self) -> bool:
        return self.accuracy - self.guessing > _SUSPICIOUS

    @property
    def sentence(self) -> str:
        """The finding in words."""
        strongest = max(self.relation, key=self.relation.__getitem__)
        said = (
            f"A small model that sees only these statistics, never the picture, is right in "
            f"{self.accuracy:.0%} of cases (guessing: {self.guessing:.0%}, each class counting the same)."
        )
        if self.left_out:
            said += f" Left out are classes of fewer than {_FOLDS} photos: {self.left_out}."
        if self.is_suspicious:
            return f"{said} **A classifier could be cheating**, most of all by {strongest}."
        return f"{said} The statistics alone give little away."


def shortcut(
    statistics: dict[str, NDArray[np.float32]], labels: NDArray[np.str_], seed: int = 0
) -> Shortcut | None:
    """What the statistics ([N] each) tell of the labels [N], cross-validated.

    Returns None where fewer than two classes have photos enough to tell.
    """
    found, counts = np.unique(labels, return_counts=True)
    classes = found[counts >= _FOLDS]
    if len(classes) < 2:
        return None
    chosen = _sample(labels, classes, seed)
    features = np.stack([values[chosen] for values in statistics.values()], 1)  # [M, S]
    truth = labels[chosen]
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=300))
    with threadpool_limits(1):  # small matrices: more threads only wait for one another
        answers = cross_val_predict(model, features, truth, cv=folds)
    recalls = [float(np.mean(answers[truth == name] == name)) for name in classes]
    relation = {name: _explained(values[chosen], truth) for name, values in statistics.items()}
    return Shortcut(float(np.mean(recalls)), 1 / len(classes), relation, len(found) - len(classes))


def _sample(labels: NDArray[np.str_], classes: NDArray[np.str_], seed: int) -> NDArray[np.int64]:
    """Rows of these classes, of each its share and five at least."""
    rng = np.random.default_rng(seed)
    share = min(1.0, _MOST_ROWS / len(labels))
    rows = [np.flatnonzero(labels == name) for name in classes]
    taken = [rng.permutation(row)[: max(_FOLDS, round(len(row) * share))] for row in rows]
    return np.sort(np.concatenate(taken))


def _explained(values: NDArray[np.float32], labels: NDArray[np.str_]) -> float:
    """Eta squared of ranks: 0 when the class says nothing about the statistic, 1 when everything."""
    ranks = stats.rankdata(values)
    spread = float(((ranks - ranks.mean()) ** 2).sum())
    groups = [ranks[labels == name] for name in np.unique(labels)]
    between = sum(len(group) * float(group.mean() - ranks.mean()) ** 2 for group in groups)
    return between / spread if spread else 0.0
