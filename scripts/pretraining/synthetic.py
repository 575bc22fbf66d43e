"""Images that nobody has to license: made objects on made backgrounds, each pixel known.

What counts as an object is what a person would say: something closed that differs from what is
around it, in brightness, colour, texture or by its outline alone. Sizes, colours, textures and
light are drawn anew for every image, far wider than any microscope's, so that a network
learns outlines and not looks (domain randomisation; Tobin et al., IROS 2017; and Billot et al.,
SynthSeg, Med. Image Anal. 86, 2023, for labels turned into images of random contrast).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .pool import Plane

Field = NDArray[np.float64]

SIDE = 256
NAME = "synthetic"
_SIZES = ((1, 3, 30, 90), (4, 20, 12, 32), (25, 90, 4, 11))
"""Least and most objects, and least and largest radius in pixels: few large to many small."""
_LOOKS = ("filled", "rim", "halo", "wall", "shaded")


def made_planes(count: int, seed: int) -> list[Plane]:
    """Return images (3, Y, X) with classes (Y, X), 1 for objects; the same for the same seed."""
    return [_plane(np.random.default_rng([seed, number])) for number in range(count)]


def _plane(generator: np.random.Generator) -> Plane:
    least, most, small, large = _SIZES[generator.integers(len(_SIZES))]
    objects = _objects(int(generator.integers(least, most + 1)), (small, large), generator)
    image = _background(generator)
    _draw_lines(image, generator)
    look = str(generator.choice(_LOOKS))
    if look != "filled" or large > _SIZES[-1][-1]:
        _draw_specks(image, objects, generator)
    _draw_objects(image, objects, look, generator)
    image = _as_taken(image, generator)
    return Plane(NAME, np.round(255 * image).astype(np.uint8), (objects > 0).astype(np.uint8))


def _objects(
    count: int, radii: tuple[float, float], generator: np.random.Generator
) -> NDArray[np.int32]:
    """Return numbered shapes (Y, X) that may touch, and hardly overlap."""
    objects = np.zeros((SIDE, SIDE), np.int32)
    wobble, stretch = generator.uniform(0, 0.5), generator.uniform(1, 2.5)
    for number in range(1, count + 1):
        shape = _shape(generator.uniform(*radii), wobble, generator.uniform(1, stretch), generator)
        if shape.any() and (objects[shape] > 0).mean() < 0.1:
            objects[shape & (objects == 0)] = number
    return objects


def _shape(
    radius: float, wobble: float, stretch: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Return a star-shaped region (Y, X): an ellipse whose radius varies along the outline."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - generator.uniform(0, SIDE, (2, 1, 1))
    angle = generator.uniform(0, np.pi)
    along = (rows * np.sin(angle) + columns * np.cos(angle)) / stretch**0.5
    across = (rows * np.cos(angle) - columns * np.sin(angle)) * stretch**0.5
    around = np.arctan2(across, along)
    outline = np.ones_like(around)
    for waves in range(2, 7):
        size, phase = wobble * generator.normal() / waves, generator.uniform(0, 2 * np.pi)
        outline += size * np.cos(waves * around + phase)
    return np.asarray(np.hypot(along, across) < radius * np.clip(outline, 0.3, None))


def _texture(generator: np.random.Generator) -> Field:
    """Return a field (Y, X) of mean 0 and deviation 1: clouds, grains or fibres."""
    rows, columns = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    if generator.random() < 0.3:  # fibres: coarse along one direction
        angle, ratio = generator.uniform(0, np.pi), generator.uniform(2, 8)
        rows, columns = (
            ratio * (rows * np.cos(angle) + columns * np.sin(angle)),
            columns * np.cos(angle) - rows * np.sin(angle),
        )
    frequency = np.hypot(rows, columns)
    if generator.random() < 0.5:
        spectrum = (frequency + 0.01) ** -generator.uniform(0.5, 2.5)
    else:
        middle = 1 / generator.uniform(4, 40)
        spectrum = np.exp(-(((frequency - middle) / (middle / 2)) ** 2))
    white = np.fft.rfft2(generator.normal(size=(SIDE, SIDE)))
    field = np.fft.irfft2(white * spectrum, (SIDE, SIDE))
    return np.asarray((field - field.mean()) / (field.std() + 1e-9))


def _stuff(generator: np.random.Generator, base: Field, strength: float) -> Field:
    """Return (3, Y, X): a colour that a texture varies."""
    direction = generator.normal(size=3) * 0.5 + 1
    return np.asarray(
        base[:, None, None] + strength * direction[:, None, None] * _texture(generator)
    )


def _background(generator: np.random.Generator) -> Field:
    """Return one kind of stuff, or regions of two with a soft border."""
    base = generator.uniform(0.05, 0.95, 3)
    image = _stuff(generator, base, generator.uniform(0.01, 0.12))
    if generator.random() < 0.4:
        other = _stuff(
            generator, base + generator.normal(0, 0.15, 3), generator.uniform(0.01, 0.12)
        )
        low = ndimage.gaussian_filter(generator.normal(size=(SIDE, SIDE)), 40)
        part = 1 / (1 + np.exp(-low / low.std() * generator.uniform(2, 10)))
        image += part * (other - image)
    return image


def _draw_lines(image: Field, generator: np.random.Generator) -> None:
    """Draw vessels, hairs or scratches, which are no objects."""
    for _ in range(generator.integers(1, 6) if generator.random() < 0.3 else 0):
        low = ndimage.gaussian_filter(
            generator.normal(size=(SIDE, SIDE)), generator.uniform(20, 60)
        )
        line = np.exp(-((low / low.std() / generator.uniform(0.02, 0.08)) ** 2))
        image += line * generator.normal(0, 0.15, (3, 1, 1))


def _draw_specks(image: Field, objects: NDArray[np.int32], generator: np.random.Generator) -> None:
    """Draw dust and glints far smaller than the objects, which are no objects."""
    if generator.random() < 0.5:
        count = int(generator.integers(5, 80))
        points = np.zeros((SIDE, SIDE))
        points[tuple(generator.integers(0, SIDE, (2, count)))] = 1
        sigma = generator.uniform(0.5, 1.5)
        points = ndimage.gaussian_filter(points, sigma) * 2 * np.pi * sigma**2
        image += points * generator.normal(0, 0.3, (3, 1, 1))


def _draw_objects(
    image: Field, objects: NDArray[np.int32], look: str, generator: np.random.Generator
) -> None:
    """Draw all objects in one look, each a little different."""
    inside = ndimage.distance_transform_edt(objects > 0)
    outside = ndimage.distance_transform_edt(objects == 0)
    colour = _contrast(generator)
    own = 1 + generator.normal(0, 0.2, objects.max() + 1)[objects]
    soft = ndimage.gaussian_filter((objects > 0).astype(float), generator.uniform(0.4, 1.5))
    width = generator.uniform(1, 4)
    edge = np.exp(-((inside / width) ** 2)) * (objects > 0)
    if look in ("filled", "shaded", "wall"):
        base = image.mean((1, 2)) + colour
        body = _stuff(generator, base, generator.uniform(0.01, 0.12))
        if look == "filled" and generator.random() < 0.3:  # what is behind it shines through
            body = image + colour[:, None, None]
        image += soft * own * (body - image)
    if look == "shaded":  # lit from a side, like something that stands out
        height = ndimage.gaussian_filter(np.minimum(inside, 40.0), 3)
        slope = np.gradient(height)
        light = generator.normal(size=2)
        image += generator.uniform(0.05, 0.2) * (light[0] * slope[0] + light[1] * slope[1])
    if look == "wall":  # a cavity of another colour inside a wall
        thick = generator.uniform(0.2, 0.7) * max(float(inside.max()), 1.0)
        cavity = 1 / (1 + np.exp(-(inside - thick)))
        image += cavity * generator.uniform(0.3, 1) * _contrast(generator)[:, None, None]
    if look in ("rim", "halo") or generator.random() < 0.3:
        image += edge * _contrast(generator)[:, None, None]
    if look == "halo":  # as in phase contrast: bright around, dark within
        around = np.exp(-((outside / (2 * width)) ** 2)) * (objects == 0)
        image += generator.uniform(0.1, 0.3) * around - generator.uniform(0, 0.15) * soft * own
        image += soft * generator.uniform(0, 0.08) * _texture(generator)


def _contrast(generator: np.random.Generator) -> Field:
    """Return a difference of colours (3,), as often dark as bright, seldom hardly visible."""
    size = generator.uniform(0.06, 0.45) * generator.choice((-1, 1))
    return np.asarray(size * (1 + generator.normal(0, 0.5, 3)))


def _as_taken(image: Field, generator: np.random.Generator) -> Field:
    """Return the image as a camera might have taken it, in 0 … 1."""
    if generator.random() < 0.5:
        image = np.broadcast_to(image.mean(0), image.shape).copy()
    slope = np.linspace(-1, 1, SIDE)
    light = generator.normal(0, 0.12, 2)
    image = image * (1 + light[0] * slope[:, None] + light[1] * slope[None])
    blur = generator.uniform(0, 1.5) if generator.random() < 0.5 else 0
    image = ndimage.gaussian_filter(image, (0, blur, blur))
    image = image + generator.normal(0, generator.uniform(0, 0.06), image.shape)
    low, high = np.percentile(image, (0.5, 99.5))
    return np.asarray(np.clip((image - low) / max(high - low, 1e-6), 0, 1))


def sheet(planes: list[Plane], columns: int = 6) -> NDArray[np.uint8]:
    """Return images (Y, X, 3) beside each other with the outlines of their objects, to look at."""
    return np.concatenate(list(_rows(planes, columns)), 0)


def _rows(planes: list[Plane], columns: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(planes) - columns + 1, columns):
        tiles = []
        for plane in planes[start : start + columns]:
            tile = np.moveaxis(plane.image, 0, -1).copy()
            tile[ndimage.binary_dilation(plane.classes) ^ (plane.classes > 0)] = (255, 255, 0)
            tiles.append(tile)
        yield np.concatenate(tiles, 1)
