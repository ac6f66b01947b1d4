"""The problem file: everything that the business decides about one classifier, and nothing else.

Knows TOML, and how the sections fit together. Knows nothing about machines, stores or networks.
"""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from pawloop.addresses import public_text
from pawloop.decision import Costs
from pawloop.errors import ProblemFileError, nearest
from pawloop.paths import expanded
from pawloop.sections import (
    ClassName,
    Cost,
    Data,
    Evaluate,
    Gate,
    Model,
    Section,
    Shadow,
    Train,
    Tune,
    Validate,
)

PROBLEMS = Path(__file__).resolve().parent.parent / "problems"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Problem(Section):
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
        dearest = float(self.costs.matrix.max())
        if self.cost.ask > dearest:
            raise ValueError(
                f"[cost] ask = {self.cost.ask:g} is dearer than any mistake (at most {dearest:g}): nobody "
                "would be asked, but unfamiliar photos would cost it; "
                f"ask = {dearest:.15g} never asks, either"
            )
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
        """The same problem with another source or backbone, as a person asks for by hand.

        Raises ProblemFileError for what the problem cannot be asked.
        """
        value = self.model_dump(by_alias=True)
        if source:
            value["data"]["sources"] = (source,)
        if backbone and self.model.init == "champion":
            raise ProblemFileError(
                f'problem {self.name}: [model] init = "champion" keeps the champion\'s network, so no other '
                'can be asked for; set init = "imagenet", or leave the backbone out'
            )
        if backbone:
            value["model"]["backbone"] = backbone
        return _checked(value, f"problem {self.name}")


def load(name: str | Path) -> Problem:
    """Read a problem by its name in `problems/` or by the path of its file.

    Raises ProblemFileError that says which file, which key and what would be right.
    """
    path = find(str(name))
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a mark in front
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProblemFileError(f"{path}: not readable as TOML: {error}; correct that line") from None
    except OSError as error:
        raise ProblemFileError(f"{path}: cannot be read: {error.strerror}") from None
    return _checked(value, str(path))


def name_of(wanted: str, known: Collection[str]) -> str:
    """The name that a problem's name or file means: what the file says, as retrains take it.

    known: names that need no file. Raises ProblemFileError where there is neither.
    """
    try:
        return load(wanted).name
    except ProblemFileError:
        if wanted in known:
            return wanted
        raise


def find(name: str) -> Path:
    """The file of a problem given by name or path. Raises ProblemFileError when there is none."""
    named = PROBLEMS / f"{name}.toml"
    if _NAME.fullmatch(name) and named.exists():
        return named
    path = expanded(name)
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
        lines = [_explain(where, item) for item in found if not _is_aftermath(item)]
        raise ProblemFileError("\n".join(dict.fromkeys(lines))) from None


def _is_aftermath(item: Any) -> bool:  # Any: pydantic's ErrorDetails, a partial TypedDict
    """Whether a list is told to be too short only since wrong values in it do not count."""
    return bool(item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"])


def _explain(where: str, item: Any) -> str:  # Any: as above
    *sections, key = [str(part) for part in item["loc"] if isinstance(part, str)] or [""]
    place = f"{where}:" + (f" [{'.'.join(sections)}]" if sections else "")
    if item["type"] == "extra_forbidden":
        return f'{place} has an unknown key "{key}"{nearest(key, _known_keys(sections))}'
    if item["type"] == "missing" and isinstance(item["loc"][-1], int):
        return f"{place} {key} takes {item['loc'][-1] + 1} values or more; add what lacks"
    if item["type"] == "missing":
        return f'{place} lacks the key "{key}"; add it'
    if item["type"] in ("tuple_type", "too_short", "too_long"):
        return f"{place} {key} {_list_wanted(item)}"
    if item["type"] == "model_type":
        return f"{place} {key} is a table: write [{key}] once, in single brackets, and its keys below it"
    message = item["msg"].removeprefix("Value error, ") + _value(item)
    return f"{place} {key}: {message}" if key else f"{place} {message}"


def _list_wanted(item: Any) -> str:  # Any: as above
    if item["type"] == "tuple_type":
        return f"takes a list, in brackets, and not {_toml(item['input'])}"
    if item["type"] == "too_long":
        return f"takes {item['ctx']['max_length']} values and no more"
    least = item["ctx"]["min_length"]
    return f"takes {least} value{'s' if least > 1 else ''} or more; add what lacks"


def _value(item: Any) -> str:  # Any: as above
    """Which value was found there, unless the message is a validator's of ours, which says so itself."""
    if isinstance(item["loc"][-1] if item["loc"] else "", int):
        return f" (value {item['loc'][-1] + 1} is {_toml(item['input'])})"
    is_said = item["type"] == "value_error" or isinstance(item["input"], dict | list | tuple)
    return "" if is_said else f" (got {_toml(item['input'])})"


def _toml(value: object) -> str:
    """A value about as a problem file has it, its addresses without their keys."""
    return public_text(json.dumps(value, ensure_ascii=False, default=str))


def _known_keys(sections: list[str]) -> list[str]:
    model: type[BaseModel] = Problem
    for section in sections:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        inner = fields[section].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]
