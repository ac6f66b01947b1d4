"""`journal://`: photos that were answered by the server and labelled by a person.

Only photos drawn by chance (`audit`) may judge a model; the others teach and are always for training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from pawloop import settings
from pawloop.errors import JournalError, SourceError
from pawloop.journal import Journal
from pawloop.journal_rows import Labelled, by_photo
from pawloop.printable import printable
from pawloop.sections import same_form
from tasks.manifest import Side
from tasks.offer import Listing, Offer


def listing(source: str, classes: Sequence[str], store: Path) -> Listing:
    """The labelled photos of a model's journal, `journal://MODEL`; none, or no journal, is only a note.

    Raises SourceError when the journal cannot be read.
    """
    url = settings.load().journal_url
    if url is None:
        return Listing(source, [], 0, iter(()), ["switched off (PAWLOOP_JOURNAL=off)"])
    found = by_photo(_labelled(source, url))
    known = [one for one in found if same_form(one.label.label) in classes]
    kept = [one for one in known if one.is_kept]
    notes = [] if found else ["no labels yet: nobody has labelled a photo so far"]
    if len(known) > len(kept):
        notes.append(f"{len(known) - len(kept)} labelled photos were not kept, so they cannot be learnt from")
    counts = Counter(same_form(one.label.label) for one in found)
    names = sorted(counts)
    others = [name for name in names if name not in classes]
    notes += [f'{counts[name]} labelled "{printable(name)}", which is no class' for name in others]
    offers = (_offer(one, store / "photos" / "journal") for one in kept)
    return Listing(source, names, len(kept), offers, notes)


def _labelled(source: str, url: str | Path) -> list[Labelled]:
    try:
        journal = Journal(url)
        try:
            return list(journal.labelled(urlsplit(source).netloc))
        finally:
            journal.close()
    except JournalError as error:
        raise SourceError(f"{source}: {error}") from None


def _offer(one: Labelled, folder: Path) -> Offer:
    id = one.photo_id
    read = partial(Path.read_bytes, folder / id[:2] / id)
    side: Side | None = None if one.label.why == "audit" else "train"
    return Offer(id, same_form(one.label.label), read, stamp=id, side=side)
