"""Proof that an ONNX file says what the PyTorch network says.

Knows both sides. Knows nothing about where the photos are from.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from export.backbone import Architecture, Network, normalised
from pawloop.errors import ExportError
from pawloop.session import Session

_BATCH = 8


def parity(
    network: Network, architecture: Architecture, session: Session, images: NDArray[np.uint8]
) -> float:
    """Largest difference in any probability between PyTorch and a file at temperature 1.

    images: [N, S, S, 3], best real photos. Raises ExportError when either answers with no number.
    """
    worst = 0.0
    network = network.eval()
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            pixels = normalised(torch.from_numpy(batch), architecture)
            expected = torch.softmax(network(pixels), dim=1).numpy()
            got = session.run(batch, ["probabilities"])["probabilities"]
            difference = float(np.abs(expected - got).max())
            if not np.isfinite(difference):
                raise ExportError("the exported model answers with values that are no numbers")
            worst = max(worst, difference)
    return worst
