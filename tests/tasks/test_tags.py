"""Private tags: gone from imported photos, while pixels, orientation and colours stay."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from pawloop.errors import PhotoError
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
    if content[8:12] == b"heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_place_and_camera_go_and_the_rest_stays(format: str) -> None:
    before = tagged(format)  # once: a colour profile tells the second in which it was made
    after = without_private_tags(before)

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


@pytest.mark.parametrize("format", ["TIFF", "AVIF", "HEIF"])
def test_tags_are_erased_where_they_stand_in_other_formats(format: str) -> None:
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    content = tagged(format)

    clean = without_private_tags(content)

    old, new = opened(content), opened(clean)
    assert b"SECRET" in content
    assert b"SECRET" not in clean
    assert GPS not in new.getexif()
    assert new.getexif().get(ORIENTATION, 1) == old.getexif().get(ORIENTATION, 1)
    assert np.array_equal(np.asarray(new), np.asarray(old))


def test_comments_of_a_gif_go_and_its_film_stays() -> None:
    stream = io.BytesIO()
    frames = [picture(seed) for seed in (5, 6)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], comment=b"SECRET place", loop=0)

    clean = without_private_tags(stream.getvalue())

    assert b"SECRET" not in clean
    assert opened(clean).n_frames == 2  # type: ignore[attr-defined]  # of a film
    assert np.array_equal(np.asarray(opened(clean)), np.asarray(opened(stream.getvalue())))


@pytest.mark.parametrize("format", ["TIFF", "AVIF", "GIF"])
def test_damaged_bytes_of_other_formats_come_back_or_are_refused(format: str) -> None:
    content = tagged(format) if format != "GIF" else photo(4, format="GIF")

    for length in range(0, len(content), 97):
        with contextlib.suppress(PhotoError):
            assert isinstance(without_private_tags(content[:length]), bytes)


def test_tags_that_cannot_be_removed_keep_a_photo_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.erase._MOST_LISTS", 0)

    with pytest.raises(PhotoError, match="save it as JPEG or PNG"):
        without_private_tags(tagged("TIFF"))


@pytest.mark.parametrize("share", [0.5, 0.7, 0.95])
def test_a_photo_that_is_cut_off_keeps_no_tags_either(share: float) -> None:
    whole = tagged("PNG")
    cut = whole[: int(len(whole) * share)]
    after = without_private_tags(cut)
    assert b"SECRET" in cut
    assert b"SECRET" not in after
    assert after.startswith(cut[:8])


@pytest.mark.parametrize("start", [b"II+\0", b"MM\0+"])
def test_a_tiff_of_the_large_kind_is_left_out(start: bytes) -> None:
    stream = io.BytesIO()
    picture(3).save(stream, "TIFF", big_tiff=True)
    content = stream.getvalue()
    if start == content[:4]:
        with pytest.raises(PhotoError, match="save it as JPEG or PNG"):
            without_private_tags(content)
    damaged = start + bytes(40)  # which nobody can read
    assert without_private_tags(damaged) is damaged


def planted(format: str) -> bytes:
    """A photo with a name in a place that only some programs know of."""
    stream = io.BytesIO()
    secret = b"SECRET name" + b"\0" * 5
    if format == "PNG":
        picture(3).save(stream, "PNG")
        content, chunk = stream.getvalue(), b"caBX" + secret
        whole = struct.pack(">I", len(secret)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return content[:33] + whole + content[33:]
    if format == "WEBP":
        picture(3).save(stream, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
        content = stream.getvalue() + b"C2PA" + struct.pack("<I", len(secret)) + secret
        return b"RIFF" + struct.pack("<I", len(content) - 8) + content[8:]
    if format == "JPEG":
        picture(3).save(stream, "JPEG", progressive=True)
        content = stream.getvalue()
        later = content.rindex(b"\xff\xda")
        return content[:later] + b"\xff\xfe" + struct.pack(">H", len(secret) + 2) + secret + content[later:]
    picture(3).save(stream, "TIFF")
    content = stream.getvalue()
    below = struct.pack("<HHHII", 1, 315, 2, len(secret), len(content) + 18) + b"\0\0\0\0" + secret
    first, where = struct.unpack_from("<I", content, 4)[0], len(content)
    count = struct.unpack_from("<H", content, first)[0]
    entries = [content[first + 2 + 12 * n :][:12] for n in range(count)]
    entries.append(struct.pack("<HHII", 330, 4, 1, where))
    table = struct.pack("<H", count + 1) + b"".join(sorted(entries)) + b"\0\0\0\0"
    return content[:4] + struct.pack("<I", where + len(below)) + content[8:] + below + table


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_what_only_some_programs_read_goes_too(format: str) -> None:
    before = planted(format)

    after = without_private_tags(before)

    assert b"SECRET" in before
    assert b"SECRET" not in after
    assert np.array_equal(np.asarray(opened(after)), np.asarray(opened(before)))
