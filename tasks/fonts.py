"""Fonts in which names of classes can be read, whatever their script.

Knows which fonts are installed. Knows nothing about what is drawn.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from matplotlib import font_manager
from PIL import ImageFont

_FIRST: Final = "DejaVu Sans"  # comes with matplotlib; Latin, Greek, Cyrillic, Hebrew and Arabic
_OTHERS: Final = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "IPAexGothic", "NanumGothic"),
    *("Hiragino Sans", "Hiragino Sans GB", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Nirmala UI", "Leelawadee UI"),
    *("Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai"),
)


@cache
def families() -> tuple[str, ...]:
    """The installed ones, the best first; matplotlib takes each letter from the first that has it."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return (_FIRST, *(name for name in _OTHERS if name in installed))


def font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """For Pillow, which draws a text in one font: the first that has most of its letters. size: pixels."""
    letters = [ord(letter) for letter in text]
    files = [font_manager.findfont(name) for name in families()]
    known = [sum(font_manager.get_font(file).get_char_index(one) > 0 for one in letters) for file in files]
    return ImageFont.truetype(files[known.index(max(known))], size)
