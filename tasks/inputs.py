"""What the networks of one training learn from: their photos' embeddings and activations.

Knows photos, and the features that frozen parts of networks make of them. Knows nothing about what is
learnt from those.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from export.backbone import Network
from pawloop.errors import TrainingError
from tasks.extractors import Net, frozen_extractor
from tasks.features import Extractor, Wanted, features
from tasks.finetune import Activations
from tasks.manifest import SIDES, Dataset, Photo, Side, labels_of
from tasks.recipe import Recipe

_SQUARE = 1.05  # longer by shorter side up to which a photo is as good as square
_MOST_ACTIVATION_BYTES = 160 * 2**20  # what a budget of minutes can visit, and memory can hold
Progress = Callable[[str, int, int], None]


class Inputs:
    """The photos of one training, as its networks see them.

    left_out: for a person, which photos fine-tuning could not look at.
    """

    def __init__(self, dataset: Dataset, recipe: Recipe, on_progress: Progress) -> None:
        """Raises TrainingError when a side has no photos to train, choose or judge by."""
        self.dataset, self.recipe, self.on_progress = dataset, recipe, on_progress
        self.left_out: list[str] = []
        self._photos: dict[Side, list[Photo]] = {}
        for side in SIDES:
            if not self.photos(side):
                raise TrainingError(f"{dataset.name}: no {side} photos; add photos to the sources")
        self._activations: dict[Side, tuple[tuple[Net, int], Activations]] = {}

    def photos(self, side: Side) -> list[Photo]:
        """Those of one side, in the order of their ids, which are hashes: at random."""
        if side not in self._photos:
            self._photos[side] = self.dataset.photos(side)
        return self._photos[side]

    @property
    def are_square(self) -> bool:
        """Whether nine training photos of ten are so nearly square that each way to cut them is the same."""
        ratios = [max(one.width, one.height) / min(one.width, one.height) for one in self.photos("train")]
        return bool(np.quantile(ratios, 0.9) <= _SQUARE)

    def labels(self, side: Side) -> NDArray[np.int64]:
        """[N] of the photos of one side, as places among the classes."""
        return labels_of(self.photos(side), self.recipe.classes)

    def embeddings(
        self, net: Net, network: Network, side: Side, views: range, until: float = np.inf
    ) -> NDArray[np.float16]:
        """[N, V, D] of so many views of one side's photos.

        Raises as `activations` does.
        """
        extractor = frozen_extractor(net, network, "embedding", self.dataset.store)
        what = f"{net.name}: embeddings of {side} photos"
        return self._rows(extractor, self.photos(side), views, what, until)

    def activations(
        self, net: Net, network: Network, side: Side, view: int, until: float = np.inf
    ) -> Activations:
        """What the trunk says of one view of a side's photos, or of as many as memory can hold.

        Raises TrainingError when it is no numbers, DatasetError when a photo has changed, UnfinishedError
        past `until` (of `time.monotonic`).
        """
        kept = self._activations.get(side)
        if kept is None or kept[0] != (net, view):
            self._activations.pop(side, None)  # before the next ones take its place in memory
            trunk, photos = self._trunk(net, network), self.photos(side)
            most = self._most(trunk)
            if len(photos) > most:
                told = f"fine-tuning looks at {most} of {len(photos)} {side} photos, all that memory holds"
                self.left_out += [told] if told not in self.left_out else []
            what = f"{net.name}: activations of {side} photos"
            views = range(view, view + 1)
            values = self._rows(trunk, photos[:most], views, what, until)[:, 0]
            known = self.embeddings(net, network, side, views, until)[:most, 0]
            self._activations[side] = ((net, view), Activations(values, self.labels(side)[:most], known))
        return self._activations[side][1]

    def counts(self, net: Net, network: Network) -> tuple[int, int]:
        """Photos that an epoch trains on and validates with: all, or as many as memory can hold."""
        most = self._most(self._trunk(net, network))
        return min(most, len(self.photos("train"))), min(most, len(self.photos("validation")))

    def few(self, net: Net, network: Network, count: int) -> Activations:
        """As `activations`, of a few training photos to time a step with."""
        photos, what = self.photos("train")[:count], f"{net.name}: activations to time"
        values = self._rows(self._trunk(net, network), photos, range(1), what, np.inf)[:, 0]
        known = np.zeros((len(values), net.architecture.embedding_size), np.float16)  # as good to time with
        return Activations(values, self.labels("train")[:count], known)

    def _trunk(self, net: Net, network: Network) -> Extractor:
        return frozen_extractor(net, network, "trunk", self.dataset.store)

    def _most(self, trunk: Extractor) -> int:
        """How many photos' activations memory can hold."""
        row = features(trunk, self.dataset, [Wanted(self.photos("train")[0], 0)])[0]
        return max(1, _MOST_ACTIVATION_BYTES // int(row.nbytes))

    def _rows(
        self, extractor: Extractor, photos: list[Photo], views: range, what: str, until: float
    ) -> NDArray[np.float16]:
        """[N, V, …] of photos and views."""
        wanted = [Wanted(photo, view) for photo in photos for view in views]
        bar = lambda done, total: self.on_progress(what, done, total)  # noqa: E731
        rows = features(extractor, self.dataset, wanted, bar, until)
        if not np.isfinite(rows).all():
            raise TrainingError(
                f"{what}: they are not numbers; the weights file is damaged or belongs to another "
                "normalisation"
            )
        return rows.reshape(len(photos), len(views), *rows.shape[1:])
