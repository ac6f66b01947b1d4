"""A first problem file for somebody's photos, commented so that it can be edited.

Knows the names of class folders and TOML. Knows nothing about pixels.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

from pawloop import durable
from pawloop import problem as problems
from pawloop.addresses import public
from pawloop.errors import ProblemFileError, SourceError
from pawloop.paths import expanded
from pawloop.sections import Train, is_path
from tasks import sources

_TEMPLATE = """\
# Everything that the business decides about this classifier. docs/reference/problem-file.md explains
# every key; one that is not here takes its default.

name = {name}
classes = {classes}

[data]
# A folder or zip with a folder per class, or a URL of one. Add more of them as they come; "journal://" is
# what people corrected on the page and by `/feedback`.
sources = {sources}
test = 0.2                  # share of the photos that only judge; a photo never changes its side
validation = 0.2            # share that calibrates and chooses
minimum_per_class = 20      # fewer photos of a class end the run before training

[cost]
ask = 0.25                  # what it costs to ask a person instead of answering
# A mistake costs 1 unless it is said otherwise, true class first:
# mistake = {{ {first} = {{ {second} = 5.0 }} }}

[model]
backbone = "mobilenet_v3_large"   # or mobilenet_v3_small, mobilenet_v2, efficientnet_lite0
init = "imagenet"                 # or a .safetensors or .pth file, "champion", "random"
offline = "efficientnet_lite0"    # taken when the ImageNet weights of `backbone` cannot be had
# image_size = 192                # in place of 224: answers faster, and is worth trying for small photos

[train]
budget_s = {budget}              # seconds for other candidates and for fine-tuning
fine_tune = "auto"          # "always", "never"; auto leaves it when the frozen features are enough
# image_sizes = [256]       # larger inputs to try: often more accurate, always slower
# backbones = ["efficientnet_lite0"]   # networks to try beside [model] backbone

[gate]
minimum_accuracy = {minimum}      # a model below it serves nobody
margin = 0.02               # by how much a challenger may seem worse than the champion, in units of [cost]
"""
_MINIMUM = 0.8


def formulate(name: str, photos: str, store: Path, folder_of_problems: Path = problems.PROBLEMS) -> Path:
    """Write the problem file of photos that lie a folder per class, and return its path.

    photos: any source. A file that already names these photos is left as it is.
    Raises SourceError when fewer than two classes are found, ProblemFileError when the name is taken
    by another problem.
    """
    if not photos.strip():
        raise SourceError("no photos are named; name a folder with a folder per class, or another source")
    source = str(expanded(photos).resolve()) if is_path(photos) else photos
    path = folder_of_problems / f"{name}.toml"
    if path.exists():
        if source in problems.load(path).data.sources:
            return path
        raise ProblemFileError(f"{path}: exists and names other photos; choose another name, or edit it")
    classes = _classes(source, store)
    text = _TEMPLATE.format(
        name=_toml(name),
        classes=_toml(classes),
        sources=_toml([source, "journal://"]),
        first=_toml(classes[0]),
        second=_toml(classes[1]),
        budget=f"{Train().budget_s:g}",
        minimum=_MINIMUM,
    )
    has_key = public(source) != source
    durable.write_bytes(path, text.encode(), 0o600 if has_key else 0o666)
    try:
        problems.load(path)
    except ProblemFileError:
        path.unlink()
        raise
    return path


def _classes(source: str, store: Path) -> list[str]:
    found = sources.class_names(source, store)
    if len(found) < 2:
        have = f'only one class, "{found[0]}", was' if found else "no folder with photos was"
        raise SourceError(
            f"{public(source)}: {have} found; a classifier needs two or more folders, one a class, "
            "such as photos/cat/1.jpg and photos/dog/1.jpg"
        )
    for label in found:
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in label):
            raise SourceError(f"{public(source)}: the name of the folder {label!r} is no text; rename it")
    return found


def _toml(value: str | list[str]) -> str:
    # TOML's basic strings are JSON's, and so are its arrays of them.
    return json.dumps(value, ensure_ascii=False)
