"""A mean of a network's weights at several times of its training, each by how well it explains photos.

Model soups (Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models" and "Robust
fine-tuning of zero-shot models"), weighed as models are averaged by their likelihood. To choose the best one
instead follows chance where validation photos are few. Knows tensors; knows nothing about training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_TRUST = 0.3  # in a difference of log-losses; at 1 one of them nearly always takes all


class Blend:
    """weights: the mean so far, by name; before the first `add` those that it was begun with."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = {name: values.clone() for name, values in weights.items()}
        self._mass, self._lowest = 0.0, math.inf

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added yet."""
        return self._mass == 0

    def add(self, weights: Mapping[str, Tensor], loss: float, count: int) -> None:
        """Take weights in. loss: their log-loss in nats on `count` photos."""
        trust = _TRUST * count
        if loss < self._lowest:
            self._mass *= math.exp(trust * (loss - self._lowest))
            self._lowest = loss
        weight = math.exp(trust * (self._lowest - loss))
        self._mass += weight
        for name, values in weights.items():
            self.weights[name].lerp_(values, weight / self._mass)

    def state(self) -> dict[str, Any]:  # Any: tensors and numbers
        """All that it takes to go on."""
        return {"weights": self.weights, "mass": self._mass, "lowest": self._lowest}

    def resume(self, state: Mapping[str, Any]) -> None:  # Any: as above
        """Go on from what `state` gave."""
        self.weights, self._mass, self._lowest = state["weights"], state["mass"], state["lowest"]
