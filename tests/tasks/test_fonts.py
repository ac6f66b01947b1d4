from __future__ import annotations

import pytest

from tasks import fonts

UNKNOWN = "\uffff"


@pytest.mark.parametrize("name", ["Große Käfer", "кошка", "γάτα", "قطة", "łoś"])
def test_names_in_most_scripts_can_be_read_without_any_font_installed(name: str) -> None:
    drawn = fonts.font(name, 20)
    box = bytes(drawn.getmask(UNKNOWN))
    assert all(bytes(drawn.getmask(letter)) != box for letter in name)


def test_letters_that_the_first_font_lacks_are_drawn_in_one_that_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fonts, "families", lambda: ("DejaVu Sans", "STIXGeneral"))
    assert fonts.font("cat", 20).getname()[0] == "DejaVu Sans"
    assert fonts.font("\u1d8d", 20).getname()[0] == "STIXGeneral"


def test_letters_that_no_font_has_are_boxes_and_no_error() -> None:
    assert fonts.font(UNKNOWN, 20).getname()[0] == "DejaVu Sans"
