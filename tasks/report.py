"""Lays a report out: sections, tables and pictures as one page that needs no other file.

Knows HTML and Markdown. Knows nothing about photos.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from tasks.cardtext import plain

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; margin: .5rem 0; font-size: .9rem; }
th, td { text-align: left; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid #8884; }
td { vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } img, svg { max-width: 100%; height: auto; }
nav a { margin-right: 1rem; } .failed { color: #c22; font-weight: 600; }
"""


class Section(NamedTuple):
    """A titled part of a page; body is HTML."""

    title: str
    body: str


def page(title: str, sections: Sequence[Section]) -> str:
    """A whole HTML page with a table of contents."""
    links = " ".join(f'<a href="#s{i}">{escape(section.title)}</a>' for i, section in enumerate(sections))
    parts = "".join(
        f'<section id="s{i}"><h2>{escape(section.title)}</h2>{section.body}</section>'
        for i, section in enumerate(sections)
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><body><h1>{escape(title)}</h1><nav>{links}</nav>{parts}</body></html>"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table; numbers stand to the right."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def paragraph(text: str) -> str:
    """Text as it is, in a paragraph."""
    return f"<p>{escape(text)}</p>"


def figure(url: str, caption: str) -> str:
    """A picture given as a `data:` URL, with words for those who do not see it."""
    words = escape(caption)
    return f'<figure><img src="{url}" alt="{words}"><figcaption>{words}</figcaption></figure>'


def listed(items: Iterable[str]) -> str:
    """A bulleted list."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; what would break its cells is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(plain(_text(value)) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    kind = ' class="number"' if isinstance(value, int | float) and not isinstance(value, bool) else ""
    return f"<td{kind}>{escape(_text(value))}</td>"


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
