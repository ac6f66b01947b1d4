"""Draws one picture of a cat or a dog, as soft illustration, from random numbers.

Anatomy first, then paint, scenery and light. Only anatomy is told the species: coats, framing, scenery
and light are drawn the same way for both, so that no palette, brightness or size gives the answer away.
Knows nothing about files, labels or data sets.
"""

import numpy as np
from numpy.random import SeedSequence
from PIL import Image

from tasks.sample.anatomy import Species, figure
from tasks.sample.coat import any_coat
from tasks.sample.paint import place_in
from tasks.sample.scenery import occlude, photograph, scenery
from tasks.sample.view import any_view


def draw(species: Species, seed: int, index: int) -> Image.Image:
    """One RGB picture with sides of 200 to 400 pixels; the same arguments give the same pixels."""
    rng = np.random.default_rng(SeedSequence([seed, index, ("cat", "dog").index(species)]))
    size = (int(rng.integers(200, 401)), int(rng.integers(200, 401)))
    coat = any_coat(rng)
    view = any_view(rng, is_wide=size[0] > size[1])
    scene = scenery(rng, size)
    place_in(scene, figure(species, coat, view, rng), view, rng)
    occlude(scene, view.facing, rng)
    return photograph(scene, rng)
