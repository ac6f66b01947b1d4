"""torchvision, importable also beside a torch of another build.

torchvision's wheel holds an extension compiled against one build of torch. Beside another build (a
CPU torch from another index, say) the extension does not load, the operators that it would define
are missing, and `import torchvision` fails on registering their shapes. Classification needs none
of them, so where, and only where, the extension cannot be loaded, the two names are declared.
Import torchvision through this module: `from export.vision import torchvision`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _extension_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    folders = (spec.submodule_search_locations if spec else None) or []
    for library in [path for folder in folders for path in Path(folder).glob("_C*")]:
        try:
            torch.ops.load_library(library)
        except OSError:
            return False
        return True
    return False


if not _extension_loads():
    _declared = torch.library.Library("torchvision", "DEF")  # lives as long as this module
    for _schema in _SCHEMAS:
        _declared.define(_schema)

import torchvision  # noqa: E402
from torchvision.transforms.v2 import functional as transforms  # noqa: E402

__all__ = ["torchvision", "transforms"]
