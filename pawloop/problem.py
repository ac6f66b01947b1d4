"""The problem file: everything that the business decides about one classifier, and nothing else.

Knows TOML and what each key means. Knows nothing about machines, stores or networks.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from pawloop.decision import Costs
from pawloop.errors import ProblemFileError, nearest

Backbone = Literal["mobilenet_v3_large", "mobilenet_v3_small", "mobilenet_v2", "efficientnet_lite0"]
BACKBONES: tuple[Backbone, ...] = get_args(Backbone)
PROBLEMS = Path(__file__).resolve().parent.parent / "problems"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def same_form(name: str) -> str:
    """A class name in Unicode's composed form (NFC), since archives made on a Mac decompose umlauts."""
    return unicodedata.normalize("NFC", name).strip()


ClassName = Annotated[str, AfterValidator(same_form)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _whole_strides(size: int) -> int:
    if size % 32:
        raise ValueError(f"must be a multiple of 32, the backbones' stride; try {size // 32 * 32}")
    return size


ImageSize = Annotated[int, Field(ge=32, le=512), AfterValidator(_whole_strides)]
Rate = Annotated[float, Field(gt=0, le=0.1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Data(_Section):
    """Where photos come from and how they are divided."""

    sources: tuple[str, ...] = Field(min_length=1)
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


class Cost(_Section):
    """What mistakes and questions cost, in one unit of the owner's choice."""

    ask: float = Field(0.25, ge=0)
    unfamiliar: float = Field(0.99, gt=0, le=1)
    mistake: dict[ClassName, dict[ClassName, float]] = {}

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


class Model(_Section):
    """Which network, on what input, from which weights."""

    backbone: Backbone = "mobilenet_v3_large"
    image_size: ImageSize = 224
    init: str = "imagenet"
    offline: Backbone = "efficientnet_lite0"


class Train(_Section):
    """How much effort a night may take, and on what.

    budget_s: for everything after the first candidate's frozen head. backbones, image_sizes: tried
    beside the model's own. rates: learning rates of fine-tuning, in the order in which they are tried.
    """

    budget_s: float = Field(20, gt=0)
    fine_tune: Literal["auto", "always", "never"] = "auto"
    views: int = Field(1, ge=0, le=8)
    backbones: tuple[Backbone, ...] = ()
    image_sizes: tuple[ImageSize, ...] = ()
    rates: tuple[Rate, ...] = Field((4e-4, 1e-4), min_length=1)


class Tune(_Section):
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
    smoothing: tuple[Share, Share] = (0.0, 0.1)

    @field_validator("rate", "decay", "smoothing")
    @classmethod
    def _lowest_first(cls, span: tuple[float, float]) -> tuple[float, float]:
        if span[0] > span[1]:
            raise ValueError(f"the lowest value comes first; write [{span[1]:g}, {span[0]:g}]")
        return span


class Gate(_Section):
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


class Evaluate(_Section):
    """How many test photos the costly questions are asked about; 0 asks none."""

    robustness_photos: int = Field(24, ge=0)
    occlusion_photos: int = Field(4, ge=0, le=16)


class Shadow(_Section):
    """How many live photos a challenger must answer beside the champion before it may take its place."""

    photos: int = Field(0, ge=0)
    patience_s: float = Field(3600, gt=0)
    disagreement: float | None = Field(None, gt=0, le=1)


CheckKind = Literal["per-class", "per-side", "balance", "set-aside", "classes", "shift"]


class Validate(_Section):
    """What a version of the photos must be like before anything learns from it."""

    imbalance: float = Field(10, ge=1)
    set_aside: float = Field(0.3, ge=0, le=1)
    shift: float = Field(0.15, gt=0, le=1)
    significance: float = Field(0.01, gt=0, lt=1)
    stop_on: tuple[CheckKind, ...] = ("per-class", "per-side")


class Problem(_Section):
    """One classifier's problem, complete and checked."""

    name: str
    classes: tuple[ClassName, ...] = Field(min_length=2)
    purpose: str = ""
    data: Data
    validate_: Validate = Field(Validate(), alias="validate")
    cost: Cost = Cost()
    model: Model = Model()
    train: Train = Train()
    tune: Tune = Tune()
    evaluate: Evaluate = Evaluate()
    gate: Gate = Gate()
    shadow: Shadow = Shadow()

    @field_validator("name")
    @classmethod
    def _usable_as_folder(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f'"{name}" must be 1 to 63 lower-case letters, digits, "-" or "_", '
                f'as it names a folder; try "{slug(name)}"'
            )
        return name

    @field_validator("classes")
    @classmethod
    def _distinct_folder_names(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        for name in classes:
            if not name or name in (".", "..") or "/" in name or "\0" in name:
                raise ValueError(f"{name!r} cannot be a class, as it cannot name a folder")
        if len({name.casefold() for name in classes}) < len(classes):
            raise ValueError(f"the same class is named twice in {list(classes)}")
        return classes

    @model_validator(mode="after")
    def _costs_name_classes(self) -> Self:
        for true, row in self.cost.mistake.items():
            for name in (true, *row):
                if name not in self.classes:
                    raise ValueError(f'[cost] names "{name}", which is no class{nearest(name, self.classes)}')
            if row.get(true, 0.0) != 0.0:
                raise ValueError(f'[cost] "{true}" taken for "{true}" is no mistake and costs 0')
            if min(row.values(), default=0.0) < 0:
                raise ValueError(f'[cost] a mistake about "{true}" has a negative cost')
        return self

    @property
    def costs(self) -> Costs:
        """The decision's costs: `mistake` [C, C], true class by predicted class, 1 where not given."""
        size = len(self.classes)
        matrix = np.ones((size, size)) - np.eye(size)
        for true, row in self.cost.mistake.items():
            for predicted, cost in row.items():
                matrix[self.classes.index(true), self.classes.index(predicted)] = cost
        return Costs(tuple(map(tuple, matrix.tolist())), self.cost.ask)

    def varied(self, source: str | None = None, backbone: str | None = None) -> Problem:
        """The same problem with another source or backbone, as a person asks for by hand."""
        value = self.model_dump(by_alias=True)
        if source:
            value["data"]["sources"] = (source,)
        if backbone:
            value["model"]["backbone"] = backbone
        return _checked(value, f"problem {self.name}")


def load(name: str | Path) -> Problem:
    """Read a problem by its name in `problems/` or by the path of its file.

    Raises ProblemFileError that says which file, which key and what would be right.
    """
    path = find(str(name))
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProblemFileError(f"{path}: not readable as TOML: {error}; correct that line") from None
    except OSError as error:
        raise ProblemFileError(f"{path}: cannot be read: {error.strerror}") from None
    return _checked(value, str(path))


def find(name: str) -> Path:
    """The file of a problem given by name or path. Raises ProblemFileError when there is none."""
    named = PROBLEMS / f"{name}.toml"
    if _NAME.fullmatch(name) and named.exists():
        return named
    path = Path(name).expanduser()
    if path.suffix == ".toml" and path.is_file():
        return path
    known = sorted(p.stem for p in PROBLEMS.glob("*.toml"))
    raise ProblemFileError(
        f'there is no problem "{name}", neither as {named} nor as a .toml file'
        f"{nearest(name, known)} (known: {', '.join(known) or 'none'}); "
        "make one with `pawloop init NAME --photos FOLDER`"
    )


def slug(text: str) -> str:
    """`text` as a problem's name: ASCII letters, digits and "-"."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore")
    return re.sub(r"[^a-z0-9_]+", "-", plain.decode().lower()).strip("-_")[:63] or "problem"


def _checked(value: dict[str, Any], where: str) -> Problem:  # Any: TOML's values
    try:
        return Problem.model_validate(value)
    except ValidationError as error:
        # A misspelt key is also a missing one: what to correct comes first.
        found = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        lines = [_explain(where, item) for item in found]
        raise ProblemFileError("\n".join(dict.fromkeys(lines))) from None


def _explain(where: str, item: Any) -> str:  # Any: pydantic's ErrorDetails, a partial TypedDict
    *sections, key = [str(part) for part in item["loc"]] or [""]
    place = f"{where}:" + (f" [{'.'.join(sections)}]" if sections else "")
    if item["type"] == "extra_forbidden":
        return f'{place} has an unknown key "{key}"{nearest(key, _known_keys(sections))}'
    if item["type"] == "missing":
        return f'{place} lacks the key "{key}"; add it'
    message = item["msg"].removeprefix("Value error, ")
    return f"{place} {key}: {message}" if key else f"{place} {message}"


def _known_keys(sections: list[str]) -> list[str]:
    model: type[BaseModel] = Problem
    for section in sections:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        inner = fields[section].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]
