"""A candidate that was trained, and how it did on validation photos.

Knows what is told of a candidate. Knows nothing about how candidates are trained or chosen among.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from export.backbone import Network
from tasks.extractors import Net
from tasks.finetune import Curve, Tuning


@dataclass
class Entry:
    """A candidate that was trained, in the state in which it was best on validation photos."""

    name: str
    net: Net
    network: Network
    validation_accuracy: float
    validation_log_loss: float
    seconds: float
    tuning: Tuning | None = None
    curve: Curve = field(default_factory=Curve)
    more: dict[str, Any] = field(default_factory=dict)  # Any: numbers and tables, as JSON holds them

    def told(self) -> dict[str, Any]:  # Any: as above
        """What is recorded of it."""
        return {
            "name": self.name,
            "backbone": self.net.backbone,
            "image_size": self.net.image_size,
            "crop_mode": self.net.crop_mode,
            "weights_sha256": self.net.weights_sha256,
            "tuning": asdict(self.tuning) if self.tuning else None,
            "validation_accuracy": self.validation_accuracy,
            "validation_log_loss": self.validation_log_loss,
            "epochs": len(self.curve.train_loss),
            "curve": asdict(self.curve),
            "seconds": round(self.seconds, 2),
            **self.more,
        }
