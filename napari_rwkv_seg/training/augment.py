"""Random crops and their variations, by MONAI's transforms.

The crop sizes vary from step to step, because a network of RWKV blocks sees its
whole input: it has to meet small and large ones to serve both.
"""

from functools import cache

import numpy as np
import torch
from monai import transforms
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

# Height, width and number of the crops of one batch: about equal numbers of pixels.
BATCHES = ((224, 224, 8), (256, 256, 8), (256, 320, 6), (384, 384, 3), (512, 512, 2))

TILT = np.pi / 12  # radians to either side, where images keep their orientation
SCALES = (0.6, 1.6)  # new images may show objects of another size than those learnt before
BENT = 0.25  # of the crops are bent
BEND = 3.0  # pixels, standard deviation of the shifts


def random_crop(height: int, width: int) -> transforms.Compose:
    """Return a transform to one crop of a dictionary of arrays, which becomes one of tensors.

    Its keys are image (C, Y, X), about 0 to 1, target (1, Y, X) and weight (1, Y, X).
    Geometry: any position, turned by any angle, 0.7 to 1.3 times as large
    along each axis, mirrored. Intensity: contrast, gamma, noise, blur; the image stays near 0…1.
    """
    keys = ["image", "target", "weight"]
    roomy = (int(height * 1.5), int(width * 1.5))
    return transforms.Compose(
        [
            transforms.RandSpatialCropd(keys, roomy, random_size=False),
            transforms.RandAffined(
                keys,
                prob=1.0,
                rotate_range=np.pi,
                scale_range=((-0.3, 0.3), (-0.3, 0.3)),
                shear_range=0.1,
                spatial_size=(height, width),
                mode=("bilinear", "nearest", "nearest"),
                padding_mode="reflection",
            ),
            transforms.RandFlipd(keys, prob=0.5, spatial_axis=0),
            transforms.RandAdjustContrastd("image", prob=0.5, gamma=(0.6, 1.6)),
            transforms.RandScaleIntensityd("image", prob=0.5, factors=0.3),
            transforms.RandShiftIntensityd("image", prob=0.5, offsets=0.1),
            transforms.RandGaussianSmoothd("image", (0.3, 1.2), (0.3, 1.2), prob=0.2),
            transforms.RandGaussianNoised("image", prob=0.3, mean=0.0, std=0.05),
            transforms.ToTensord(keys, track_meta=False),
        ]
    )


def random_grey(image: Tensor, generator: np.random.Generator) -> Tensor:
    """Return the image (C, Y, X), in 3 of 10 cases as its mean channel, in 1 of 10 inverted.

    A colour image thus also serves as a bright-field grey one, and the network
    does not learn that nuclei are always the bright parts.
    """
    if image.shape[0] > 1 and generator.random() < 0.3:
        image = image.mean(0, keepdim=True).expand_as(image).contiguous()
    return 1 - image if generator.random() < 0.1 else torch.as_tensor(image)


def warp(
    image: Tensor,
    truth: Tensor,
    place: tuple[int, int],
    size: tuple[int, int],
    generator: np.random.Generator,
    *,
    turns: bool = True,
) -> tuple[Tensor, Tensor]:
    """Read a varied crop that shows a place of an image, in one resampling step.

    Mirrored, turned, 0.6 to 1.6 times as large, and at times sheared and bent.
    Beyond the border the image is mirrored, and so is the truth; but with `turns` off the truth
    is 0 there, its weight among it, so that nothing is learnt from mirrored sides.

    Parameters
    ----------
    image : Tensor, shape (C, Y, X)
        Read linearly between pixels.
    truth : Tensor, shape (N, Y, X)
        Read at the nearest pixel.
    place : two ints
        Row and column of a pixel near which to read.
    size : two ints
        Height and width of the crop.
    generator : np.random.Generator
        Of all choices.
    turns : bool
        Whether objects may lie any way round; if not, nothing is mirrored, and turned by `TILT`
        at most.

    Returns
    -------
    image, truth : Tensor, shapes (C, height, width) and (N, height, width)
    """
    grid = _random_grid(size, generator, turns)
    for axis, length in enumerate(image.shape[1:]):
        # MONAI counts pixels from the centre of the image.
        grid[axis] += _centre(place[axis], grid[axis], length, generator) - (length - 1) / 2
    field = torch.from_numpy(grid)
    beyond = "reflection" if turns else "zeros"
    return _read(image, field, "bilinear"), _read(truth, field, "nearest", beyond)


def _read(pixels: Tensor, field: Tensor, mode: str, beyond: str = "reflection") -> Tensor:
    """Return `pixels` (C, Y, X) at the places of `field` (2, height, width)."""
    resample = transforms.Resample(mode, beyond, dtype=torch.float32)
    read: Tensor = resample(pixels, field).as_tensor()
    return read


def _random_grid(
    size: tuple[int, int], generator: np.random.Generator, turns: bool
) -> NDArray[np.float32]:
    """Return where a crop of `size` reads, (2, height, width), in pixels from its centre."""
    rows, columns = (np.arange(length) - (length - 1) / 2 for length in size)
    places = np.stack(np.meshgrid(rows, columns, indexing="ij")).reshape(2, -1)
    grid = (_random_matrix(generator, turns) @ places).reshape(2, *size)
    if generator.random() < BENT:
        grid = grid + _random_bend(size, generator)
    return np.asarray(grid, np.float32)


def _random_matrix(generator: np.random.Generator, turns: bool) -> NDArray[np.float64]:
    """Return what turns, scales, shears and mirrors; half of the turns are right angles."""
    is_right = generator.random() < 0.5
    angle = np.pi / 2 * generator.integers(4) if is_right else generator.uniform(0, 2 * np.pi)
    if not turns:
        angle = generator.uniform(-TILT, TILT)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    size = np.exp(generator.uniform(*np.log(SCALES)))
    aspect = np.exp(generator.uniform(-0.1, 0.1))
    shear = generator.uniform(-0.1, 0.1)
    mirror = generator.choice([-1, 1]) if turns else 1
    shape = np.array([[aspect, shear], [0, mirror / aspect]]) / size
    return np.asarray(turn @ shape, np.float64)


def _random_bend(size: tuple[int, int], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return smooth shifts (2, height, width) of a few pixels."""
    # A coarse grid of random shifts, made fine.
    coarse = torch.from_numpy(generator.normal(0, BEND, (1, 2, 4, 4)))
    return functional.interpolate(coarse, size, mode="bicubic", align_corners=True)[0].numpy()


def _centre(
    place: int, grid: NDArray[np.float32], length: int, generator: np.random.Generator
) -> float:
    """Return the centre of a crop along one axis: near `place`, and inside the image if it fits."""
    low, high = float(-grid.min()), length - 1 - float(grid.max())
    if low > high:
        return (length - 1) / 2
    reach = 0.25 * float(grid.max() - grid.min())
    return float(np.clip(place + generator.uniform(-reach, reach), low, high))


def vary_intensity(image: Tensor, generator: np.random.Generator) -> Tensor:
    """Vary contrast, brightness, sharpness and noise of a normalised image (C, Y, X).

    Its standard deviation is about 1. Channels are varied together, and a little on their own.
    """
    vary = _intensity_variations()
    vary.set_random_state(int(generator.integers(2**31)))
    return torch.as_tensor(vary(image))


@cache
def _intensity_variations() -> transforms.Compose:
    return transforms.Compose(
        [
            transforms.RandAdjustContrast(prob=0.3, gamma=(0.7, 1.5)),
            transforms.RandScaleIntensity(prob=0.5, factors=0.25),
            transforms.RandScaleIntensity(prob=0.3, factors=0.15, channel_wise=True),
            transforms.RandShiftIntensity(prob=0.5, offsets=0.3),
            transforms.RandGaussianSmooth((0.3, 1.2), (0.3, 1.2), prob=0.15),
            transforms.RandGaussianNoise(prob=0.2, std=0.15),
            transforms.ToTensor(track_meta=False),
        ]
    )
