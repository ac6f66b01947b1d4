"""The sections of a problem file: what each key means and what may stand there.

Knows values and their limits. Knows nothing about files, or how sections fit together (see `problem`).
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from pawloop.image import CropMode

Backbone = Literal["mobilenet_v3_large", "mobilenet_v3_small", "mobilenet_v2", "efficientnet_lite0"]
BACKBONES: tuple[Backbone, ...] = get_args(Backbone)
NAMED_SOURCES: Final = ("sample", "journal", "oxford-iiit-pet")  # alone, or before ://
LARGEST_SEED: Final = 2**32 - 1  # that every generator of random numbers takes
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


def is_path(source: str) -> bool:
    """Whether a source of photos is a path of this machine."""
    return "://" not in source and source not in NAMED_SOURCES


def same_form(name: str) -> str:
    """A class name in Unicode's composed form (NFC), since archives made on a Mac decompose umlauts."""
    return unicodedata.normalize("NFC", name).strip()


ClassName = Annotated[str, AfterValidator(same_form)]


def _named(source: str) -> str:
    if not source.strip():
        raise ValueError("is empty; name a folder, a zip, a URL or another source")
    return source


Source = Annotated[str, AfterValidator(_named)]
Price = Annotated[float, Field(ge=0, le=1e9)]  # past some 1e150 its square is no number


class Section(BaseModel):
    """A table of the file: no unknown key, no infinity, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _whole_strides(size: int) -> int:
    if size % 32:
        raise ValueError(f"must be a multiple of 32, the backbones' stride; try {size // 32 * 32}")
    return size


ImageSize = Annotated[int, Field(ge=32, le=512), AfterValidator(_whole_strides)]
Rate = Annotated[float, Field(gt=0, le=0.1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Data(Section):
    """Where photos come from and how they are divided."""

    sources: tuple[Source, ...] = Field(min_length=1)
    test: float = Field(0.2, gt=0, lt=1)
    validation: float = Field(0.2, gt=0, lt=1)
    minimum_per_class: int = Field(20, ge=3)
    minimum_per_side: int = Field(2, ge=1)
    smallest_side: int = Field(32, ge=1)
    near_duplicates: int = Field(6, ge=0, le=6)
    animated: Literal["set-aside", "first-frame"] = "set-aside"
    wrong_labels: Literal["tell", "set-aside"] = "tell"
    licence: str | None = None
    copy_photos: bool = Field(False, alias="copy")

    @model_validator(mode="after")
    def _something_left_to_train_on(self) -> Self:
        if self.test + self.validation > 0.8:
            raise ValueError(
                f"test ({self.test}) and validation ({self.validation}) leave less than a fifth "
                "of the photos to train on; make them smaller"
            )
        return self


class Cost(Section):
    """What mistakes and questions cost, in one unit of the owner's choice."""

    ask: Price = 0.25
    unfamiliar: float = Field(0.99, gt=0, le=1)
    mistake: dict[ClassName, dict[ClassName, Price]] = {}

    @field_validator("mistake", mode="before")
    @classmethod
    def _no_matrix(cls, mistake: Any) -> Any:  # Any: whatever the file holds
        rows = mistake.values() if isinstance(mistake, dict) else [None]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError(
                "names classes, true class first, and is no matrix: "
                "mistake = { dog = { cat = 5.0 } }; a mistake that is not named costs 1"
            )
        return mistake


class Model(Section):
    """Which network, on what input, from which weights."""

    backbone: Backbone = "mobilenet_v3_large"
    image_size: ImageSize = 224
    init: str = "imagenet"
    offline: Backbone = "efficientnet_lite0"


class Train(Section):
    """How much effort a night may take, and on what.

    budget_s: for everything after the first candidate's frozen head. backbones, image_sizes: tried
    beside the model's own. crop_modes: ways to make a photo square; each network's frozen head tells which
    suits it. rates: learning rates of fine-tuning, in the order in which they are tried.
    """

    budget_s: float = Field(120, gt=0)
    fine_tune: Literal["auto", "always", "never"] = "auto"
    views: int = Field(1, ge=0, le=8)
    backbones: tuple[Backbone, ...] = ()
    image_sizes: tuple[ImageSize, ...] = ()
    crop_modes: tuple[CropMode, ...] = Field(get_args(CropMode), min_length=1)
    rates: tuple[Rate, ...] = Field((4e-4,), min_length=1)


class Tune(Section):
    """The weekly search: how long, and among what.

    keep: how many of what it finds become candidates of the next nights. rate, decay, smoothing: lowest
    and highest value of each hyper-parameter of fine-tuning.
    """

    budget_s: float = Field(900, gt=0)
    trials: int = Field(30, ge=1)
    trial_s: float = Field(60, gt=0)
    keep: int = Field(2, ge=1, le=8)
    backbones: tuple[Backbone, ...] = ("efficientnet_lite0",)
    image_sizes: tuple[ImageSize, ...] = (256,)
    rate: tuple[Rate, Rate] = (5e-5, 1e-3)
    decay: tuple[Share, Share] = (0.7, 1.0)
    smoothing: tuple[Share, Share] = (0.0, 0.2)

    @field_validator("rate", "decay", "smoothing")
    @classmethod
    def _lowest_first(cls, span: tuple[float, float]) -> tuple[float, float]:
        if span[0] > span[1]:
            raise ValueError(f"the lowest value comes first; write [{span[1]:g}, {span[0]:g}]")
        return span


class Gate(Section):
    """What a challenger must reach before it serves anybody."""

    minimum_accuracy: float = Field(0.8, ge=0, le=1)
    minimum_recall: float = Field(0.5, ge=0, le=1)
    maximum_expected_cost: float | None = Field(None, ge=0)
    maximum_log_loss: float | None = Field(None, ge=0)
    maximum_latency_ratio: float = Field(3.0, gt=0)
    maximum_megabytes: float | None = Field(None, gt=0)
    parity: float = Field(1e-4, gt=0, lt=1)
    margin: float = Field(0.02, gt=0)
    slice_photos: int = Field(100, ge=10)


class Evaluate(Section):
    """How many test photos the costly questions are asked about; 0 asks none."""

    robustness_photos: int = Field(24, ge=0)
    occlusion_photos: int = Field(4, ge=0, le=16)


class Shadow(Section):
    """How many live photos a challenger must answer beside the champion before it may take its place."""

    photos: int = Field(0, ge=0)
    patience_s: float = Field(3600, gt=0)
    disagreement: float | None = Field(None, gt=0, le=1)


CheckKind = Literal["per-class", "per-side", "balance", "set-aside", "classes", "shift"]


class Validate(Section):
    """What a version of the photos must be like before anything learns from it."""

    imbalance: float = Field(10, ge=1)
    set_aside: float = Field(0.3, ge=0, le=1)
    shift: float = Field(0.15, gt=0, le=1)
    significance: float = Field(0.01, gt=0, lt=1)
    stop_on: tuple[CheckKind, ...] = ("per-class", "per-side")
