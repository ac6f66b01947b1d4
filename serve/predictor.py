"""Answers in this very process, without a server: the champion as a function of bytes.

The command line's `predict` uses it. Knows nothing about threads or HTTP.
"""

from __future__ import annotations

from pawloop.errors import NoModelError
from pawloop.registry import Registry
from pawloop.settings import Settings
from serve.answer import answer
from serve.loading import load


class Predictor:
    """A model of the registry, loaded, proven and ready to answer."""

    def __init__(self, settings: Settings, name: str, version: int | None = None) -> None:
        """Load `version` of the model `name`, or its champion.

        Raises NoModelError when there is no champion, RegistryError when the version is missing or
        damaged.
        """
        registry = Registry(settings.store, name)
        found = registry.champion(check=False) if version is None else registry.version(version, check=False)
        if found is None:
            raise NoModelError(f"{name} has no champion in {settings.store} yet, run `pawloop retrain` first")
        self.serving = load(found, settings)
        self._max_pixels = settings.max_pixels

    def predict(self, photo: bytes) -> dict[str, object]:
        """The answer that `POST /predict` gives. Raises PhotoError for what cannot be read."""
        return answer(self.serving, photo, self._max_pixels).as_dict()
