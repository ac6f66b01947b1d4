"""BentoML: a worker a core, a photo as its own type of input, one session a worker."""

# What it imports is in an environment of its own.
# mypy: ignore-errors

from __future__ import annotations

from typing import Any

import bentoml
from PIL.Image import Image
from pixels import WORKERS, answer, session, squared


@bentoml.service(workers=WORKERS, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Classifier:
    """One service."""

    def __init__(self) -> None:
        self.session = session(1)

    @bentoml.api(route="/predict")
    def predict(self, file: Image) -> dict[str, Any]:
        """One photo's label."""
        return answer(self.session.run(["probabilities"], {"image": squared(file)})[0][0])
