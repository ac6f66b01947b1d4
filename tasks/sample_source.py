"""`sample://pets`: the drawn sample, drawn once and then a folder like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pawloop.durable import content_key
from pawloop.errors import SourceError
from tasks import folder, sample
from tasks.offer import Listing
from tasks.store import store_errors


def listing(source: str, classes: Sequence[str], store: Path) -> Listing:
    """The photos of a sample. Raises SourceError for a URL that names none."""
    try:
        spec = sample.SampleSpec.from_url(source)
    except ValueError as error:
        raise SourceError(str(error)) from None
    drawn = store / "samples" / content_key(asdict(spec))
    with store_errors(store):
        sample.write(drawn, spec)
    return folder.listing(str(drawn), classes, store)
