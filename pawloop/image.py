"""The one image decoder: bytes of a photo to the pixels that the model sees.

Training and serving share it, so they cannot disagree. Knows Pillow and its errors; knows nothing
about models, files or HTTP.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import (  # the plugins register themselves; Pillow would load all forty of them
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from pawloop.errors import PhotoError, PhotoFormatError, PhotoTooLargeError

CropMode = Literal["center", "squash"]
MAX_PIXELS: Final = 50_000_000
FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
)

# Pillow warns about much that it then reads well, and catch_warnings is not safe among threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# A photo's pixels leave Pillow as one block. Of its own 64 KiB there are three, then joined under the GIL.
ImageFile.MAXBLOCK = 1 << 18

_HEIC_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_ORIENTATION_TAG = 0x0112
_STRIP_ROWS: Final = 64  # at a time: whole pictures in 64 bits, or in three layers, would take a gigabyte
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS: Final = tuple(_UPRIGHT[tag] for tag in (5, 6, 7, 8))
DECODER_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    SyntaxError,
    IndexError,
    KeyError,
    ArithmeticError,
    AttributeError,
    MemoryError,
    RuntimeError,  # of the AVIF decoder
    struct.error,
)


@dataclass(frozen=True)
class Resize:
    """The rule from photo to model input: a part around the centre, at `size`.

    size: side of the result in pixels. mode, as timm has it: "center" takes the square on `crop` of the
    shorter side, "squash" `crop` of both sides, whatever their ratio. One bilinear, antialiased resampling.
    """

    size: int
    crop: float = 0.875
    mode: CropMode = "center"

    def __str__(self) -> str:
        name = "centre-crop" if self.mode == "center" else "squash"
        return f"{name}-{self.crop:g}-bilinear-{self.size}"

    def taken(self, width: int, height: int) -> tuple[float, float]:
        """Width and height, in pixels, of the part of such a photo that is looked at."""
        if self.mode == "squash":
            return width * self.crop, height * self.crop
        side = min(width, height) * self.crop
        return side, side


def photo_id(content: bytes) -> str:
    """A photo's id: the SHA-256 of its bytes as they arrived, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def decode(content: bytes, rule: Resize, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Pixels [S, S, 3] RGB of an encoded photo: upright, cut and resized by `rule`.

    A JPEG is decoded at the smallest scale that is not below the target, which is what makes large
    photos cheap. Raises PhotoError or a child of it for what cannot be read.
    """
    with opened(content, max_pixels) as photo:
        return square(photo, rule)


def square(photo: Image.Image, rule: Resize) -> NDArray[np.uint8]:
    """As `decode`, of a photo that is open but perhaps not loaded yet."""
    with _translated():
        width, height = photo.size
        across, down = rule.taken(width, height)
        photo.draft("RGB", (int(width * rule.size / across) + 1, int(height * rule.size / down) + 1))
        photo.load()
        turn = _turn(photo)
        flat = _flattened(photo)
        width, height = flat.size
        across, down = rule.taken(width, height)
        left, top = (width - across) / 2, (height - down) / 2
        box = (left, top, left + across, top + down)
        # The square is turned after it was made small; the rule is symmetric, so the order is free.
        small = flat.resize((rule.size, rule.size), Image.Resampling.BILINEAR, box, reducing_gap=2.0)
        if small.mode != "RGB":
            small = small.convert("RGB")
        if turn is not None:
            small = small.transpose(turn)
        return np.asarray(small)


def upright(content: bytes, longest_side: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The whole photo in RGB, turned upright, its longer side at most `longest_side` pixels."""
    with opened(content, max_pixels) as photo, _translated():
        photo.draft("RGB", (longest_side, longest_side))
        photo.load()
        turn = _turn(photo)
        flat = _flattened(photo).convert("RGB")
        flat.thumbnail((longest_side, longest_side), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return flat if turn is None else flat.transpose(turn)


def overview(photo: Image.Image, shorter_side: int) -> Image.Image:
    """The whole photo in YCbCr, upright, reduced by a whole factor: its shorter side stays at least as asked.

    Every byte is decoded, so what is cut off or damaged is found. Cheaper than RGB: a JPEG is YCbCr inside.
    """
    with _translated():
        photo.draft("YCbCr", (shorter_side, shorter_side))
        photo.load()
        turn = _turn(photo)
        flat = _flattened(photo)
        factor = min(flat.size) // shorter_side
        if factor > 1:
            flat = flat.reduce(factor)
        if flat.mode != "YCbCr":
            flat = flat.convert("YCbCr" if flat.mode == "RGB" else "RGB").convert("YCbCr")
        return flat if turn is None else flat.transpose(turn)


def is_sideways(photo: Image.Image) -> bool:
    """Whether a loaded photo stands upright only after a quarter turn, so that width and height swap."""
    return _turn(photo) in _QUARTER_TURNS


@contextmanager
def opened(content: bytes, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """A photo with its header read and its size checked, not yet decoded.

    Raises PhotoFormatError for what is no image in a format that we read, PhotoTooLargeError for
    more than `max_pixels`, PhotoError for a damaged one.
    """
    if not content:
        raise PhotoFormatError("the photo is empty (0 bytes); send the bytes of an image file")
    with _translated():
        try:
            photo = Image.open(io.BytesIO(content), formats=_formats(content))
        except Image.DecompressionBombError:  # Pillow's own limit, past ours
            raise PhotoTooLargeError(
                f"the photo has more pixels than the limit of {max_pixels:,}; make it smaller"
            ) from None
    with photo:
        width, height = photo.size
        if width * height > max_pixels:
            raise PhotoTooLargeError(
                f"the photo has {width} x {height} pixels, the limit is {max_pixels:,}; make it smaller"
            )
        yield photo


def frame_count(photo: Image.Image) -> int:
    """Pictures of a film that the photo holds, 1 where those behind the first are damaged.

    Phones' multi-picture JPEGs are no film.
    """
    if photo.format == "MPO":
        return 1
    try:
        return int(getattr(photo, "n_frames", 1))
    except DECODER_ERRORS:
        return 1


def _formats(content: bytes) -> tuple[str, ...]:
    is_heic = content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS
    return (*FORMATS, "HEIF") if is_heic and _reads_heic() else FORMATS


@cache
def _reads_heic() -> bool:
    """Whether phones' HEIC can be read: the extra `heic`, loaded when the first such photo comes."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise PhotoFormatError(
            "these bytes are not an image that can be read; send JPEG, PNG, WebP, BMP, TIFF, GIF or AVIF"
        ) from None
    except Image.DecompressionBombError as error:
        raise PhotoTooLargeError(f"the photo is too large to decode: {error}") from None
    except DECODER_ERRORS as error:
        raise PhotoError(f"the photo is damaged: {error or type(error).__name__}") from None


def _turn(photo: Image.Image) -> Image.Transpose | None:
    # Only after load(): some decoders find the tag at the end of the file.
    try:
        return _UPRIGHT.get(photo.getexif().get(_ORIENTATION_TAG, 1))
    except DECODER_ERRORS:
        return None  # pixels are fine where only the camera's notes are damaged


def _flattened(photo: Image.Image) -> Image.Image:
    """The photo in a mode that resampling treats rightly: no palette, no alpha, no 16 bits."""
    if photo.mode.startswith("I") or photo.mode == "F":
        return _eight_bits(photo)
    if photo.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in photo.info:
        return _on_paper(photo)
    return photo if photo.mode in ("RGB", "L", "CMYK", "YCbCr") else photo.convert("RGB")


def _on_paper(photo: Image.Image) -> Image.Image:
    flat = Image.new("RGB", photo.size)
    for top in range(0, photo.height, _STRIP_ROWS):
        strip = photo.crop((0, top, photo.width, min(top + _STRIP_ROWS, photo.height))).convert("RGBA")
        paper = Image.new("RGBA", strip.size, "white")  # what a browser shows behind it
        flat.paste(Image.alpha_composite(paper, strip).convert("RGB"), (0, top))
    return flat


def _eight_bits(photo: Image.Image) -> Image.Image:
    values = np.asarray(photo)  # [H, W]
    strips = [slice(start, start + _STRIP_ROWS) for start in range(0, len(values), _STRIP_ROWS)]
    most = max((_numbers(values[rows]).max(initial=0.0) for rows in strips), default=0.0)
    top = 255.0 if most <= 255 else 65535.0
    if photo.mode == "F" and most <= 1:
        top = 1.0
    grey = np.empty(values.shape, np.uint8)
    for rows in strips:
        grey[rows] = _numbers(values[rows]).clip(0, top) * (255.0 / top)
    return Image.fromarray(grey)


def _numbers(values: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64))
