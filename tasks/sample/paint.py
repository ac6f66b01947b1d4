"""Paint: shapes to pixels, told nothing about the animal."""

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from tasks.sample.anatomy import Figure
from tasks.sample.shapes import SHADOW, Points, Shape, ellipse, normals, rotation
from tasks.sample.view import View

Plane: TypeAlias = NDArray[np.float32]  # [height, width]


@dataclass(frozen=True)
class Placing:
    """How head radii become pixels: points @ turn.T + offset; and where the light is from."""

    turn: Points  # [2, 2]
    offset: Points  # [2]
    light: float  # -1 is from the left, 1 from the right

    def __call__(self, points: Points) -> Points:
        return points @ self.turn.T + self.offset

    @property
    def scale(self) -> float:
        return float(np.linalg.norm(self.turn[:, 0]))


def place_in(scene: Image.Image, figure: Figure, view: View, rng: Generator) -> None:
    """Scales the figure to the picture, whatever its anatomy, and paints it there."""
    body, head = figure
    placing = _placing(scene.size, figure, view)
    canvas = Image.new("RGB", scene.size, body[0].colour)
    alpha = Image.new("L", canvas.size)
    for shape in (*body, *head):
        _paint(canvas, alpha, shape, placing, rng)
    if view.pose != "head":
        _cast_shadow(scene, *_box(figure, placing), placing.scale)
    scene.paste(canvas, (0, 0), alpha)


def _placing(picture: tuple[int, int], figure: Figure, view: View) -> Placing:
    size = np.array(picture, float)
    upright = np.diag([view.facing, 1.0]) @ rotation(view.tilt)
    level = Placing(upright, np.zeros(2), view.light)
    face = _box(([], figure[1]), level)
    # The shoulders of a portrait run out of the picture, so only the head is framed.
    low, high = face if view.pose == "head" else _box(figure, level)
    scale = view.fill * float((size / (high - low)).min())
    scale = min(scale, 1.03 * float((size / (face[1] - face[0])).min()))
    offset = size * (0.5 + np.array(view.shift)) - (low + high) / 2 * scale
    if view.pose == "head":
        offset[1] += max(0.0, size[1] - (high[1] * scale + offset[1])) * 0.5
    offset += _missing(face[0] * scale + offset, face[1] * scale + offset, size)
    return Placing(upright * scale, offset, view.light)


def _box(figure: Figure, placing: Placing) -> tuple[Points, Points]:
    points = placing(np.vstack([shape.outline for shapes in figure for shape in shapes]))
    return points.min(0), points.max(0)


def _missing(low: Points, high: Points, size: Points) -> Points:
    """How far a face has to move so that no more than a slice of it is cut off."""
    room = (high - low) / 24
    too_low, too_high = np.maximum(0, -room - low), np.maximum(0, high - room - size)
    return np.where((too_low > 0) & (too_high > 0), 0.0, too_low - too_high)


def _cast_shadow(scene: Image.Image, low: Points, high: Points, scale: float) -> None:
    """On the ground below a figure that reaches from `low` to `high`."""
    x, width = (low[0] + high[0]) / 2, high[0] - low[0]
    spot = ellipse(x, high[1] - 0.12 * scale, width * 0.5, 0.3 * scale) / 4
    mask = Image.new("L", (scene.width // 4 + 1, scene.height // 4 + 1))
    ImageDraw.Draw(mask).polygon(spot.ravel().tolist(), fill=130)
    soft = mask.filter(ImageFilter.GaussianBlur(3)).resize(scene.size, Image.Resampling.BILINEAR)
    scene.paste(SHADOW, (0, 0), soft)


def _paint(canvas: Image.Image, alpha: Image.Image, shape: Shape, placing: Placing, rng: Generator) -> None:
    outline = placing(shape.outline)
    if shape.fluff:
        outline = _ragged(outline, shape.fluff * placing.scale, rng)
    low, high = outline.min(0), outline.max(0)
    girth = float((high - low).min())
    pad = 2 + (0.12 * girth if shape.shade else 0)
    corner = np.maximum(low - pad, 0).astype(int)
    width, height = (np.minimum(high + pad, canvas.size).astype(int) - corner).tolist()
    if width < 2 or height < 2:
        return
    at = (int(corner[0]), int(corner[1]))
    mask = _mask(outline - corner, (width, height))
    alpha.paste(255, at, mask)
    if not shape.shade:
        canvas.paste(shape.colour, at, mask)
        return
    soft = mask.filter(ImageFilter.BoxBlur(0.22 * girth + 0.3))
    light = _light(soft, (corner - low) / (high - low), high - low, placing.light)
    light = 1 + np.float32(shape.shade) * light
    if shape.fluff and min(width, height) > 8:
        light += _hair((width, height), rng)
    coat = _marked(shape, mask.size, replace(placing, offset=placing.offset - corner))
    shadow = Image.blend(Image.new("L", mask.size), soft, 0.42)
    canvas.paste(SHADOW, (at[0], at[1] + 2), shadow)
    canvas.paste(exposed(coat, light), at, mask)


def _light(soft: Image.Image, start: Points, span: Points, side: float) -> Plane:
    """Light from a side and above on a roundness guessed from the blurred mask.

    start: where the mask's corner lies in the shape's box of `span` pixels, as a share of it.
    Returns [height, width] around zero.
    """
    width, height = soft.size
    u = 2 * (start[0] + np.arange(width) / span[0]) - 1
    v = 2 * (start[1] + np.arange(height) / span[1]) - 1
    light: Plane = np.asarray(soft, np.float32) * np.float32(0.6 / 255)
    light += (0.13 * side * u - 0.49).astype(np.float32)
    light -= (0.13 * v[:, None]).astype(np.float32)
    return light


def exposed(
    picture: Image.Image,
    light: Plane,
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0),
    grain: Plane | float = 0.0,
) -> Image.Image:
    # Band by band: numpy is three times slower over a last axis of three.
    bands = []
    for band, share in zip(picture.split(), tint, strict=True):
        values = np.asarray(band) * (light * np.float32(share))  # [height, width]
        values += grain
        bands.append(Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8)))
    return Image.merge("RGB", bands)


def _marked(shape: Shape, size: tuple[int, int], placing: Placing) -> Image.Image:
    paint = Image.new("RGB", size, shape.colour)
    if not shape.marks:
        return paint
    pen = ImageDraw.Draw(paint)
    for mark, colour in shape.marks:
        pen.polygon(placing(mark).ravel().tolist(), fill=colour)
    return paint.filter(ImageFilter.BoxBlur(1))


def _ragged(points: Points, length: float, rng: Generator) -> Points:
    """The outline with hairs of about `length` pixels."""
    loop = np.vstack([points, points[:1]])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(loop, axis=0), axis=1))])
    count = max(12, int(along[-1] / max(1.5, length * 0.8)))
    places = (np.arange(count) + rng.uniform(-0.3, 0.3, count)).clip(0, count) * along[-1] / count
    dense = np.stack([np.interp(places, along, loop[:, i]) for i in (0, 1)], 1)
    return dense + normals(dense) * rng.normal(0, length * 0.5, (count, 1))


def _mask(outline: Points, size: tuple[int, int]) -> Image.Image:
    """The filled outline, drawn three times larger and reduced for smooth edges."""
    large = Image.new("L", (size[0] * 3, size[1] * 3))
    ImageDraw.Draw(large).polygon((outline * 3).ravel().tolist(), fill=255)
    return large.reduce(3)


def _hair(size: tuple[int, int], rng: Generator) -> Plane:
    """Streaks that run down the coat, [height, width], around zero."""
    width, height = size
    noise = rng.normal(0, 0.075, (height // 6 + 2, width + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR))
