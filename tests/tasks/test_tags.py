"""Private tags: gone from imported photos, while pixels, orientation and colours stay."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from tasks.tags import without_private_tags
from tests.tasks.albums import photo, picture

ORIENTATION, MAKER, GPS = 0x0112, 0x010F, 0x8825


def tagged(format: str, orientation: int = 6) -> bytes:
    """A photo that says where it was taken, by which camera, and how it must be turned."""
    tags = Image.Exif()
    tags[ORIENTATION], tags[MAKER] = orientation, "SECRET camera"
    tags.get_ifd(GPS)[2] = (52.0, 30.0, 0.0)
    stream = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Location", "SECRET place")
    private: dict[str, dict[str, Any]] = {"JPEG": {"comment": b"SECRET place"}, "PNG": {"pnginfo": notes}}
    picture(3).save(stream, format, exif=tags, icc_profile=profile, **private.get(format, {}))
    return stream.getvalue()


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_place_and_camera_go_and_the_rest_stays(format: str) -> None:
    before, after = tagged(format), without_private_tags(tagged(format))

    old, new = opened(before), opened(after)
    assert b"SECRET" in before
    assert b"SECRET" not in after
    assert dict(new.getexif()) == {ORIENTATION: 6}
    assert new.info["icc_profile"] == old.info["icc_profile"]
    assert np.array_equal(np.asarray(new), np.asarray(old))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_an_upright_photo_keeps_no_tags_at_all(format: str) -> None:
    assert dict(opened(without_private_tags(tagged(format, orientation=1))).getexif()) == {}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_a_photo_without_private_tags_stays_the_same_object(format: str) -> None:
    content = photo(4, format=format)

    assert without_private_tags(content) is content


def test_what_phones_hide_behind_the_picture_is_cut_off() -> None:
    content = photo(4, progressive=True)

    assert without_private_tags(content + b"a film with SECRET places") == content


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_damaged_bytes_come_back_without_an_error(format: str) -> None:
    content = tagged(format)

    for length in range(0, len(content), 37):
        assert isinstance(without_private_tags(content[:length]), bytes)
