"""Random crops and their variations, by MONAI's transforms.

The crop sizes vary from step to step, because a network of RWKV blocks sees its
whole input: it has to meet small and large ones to serve both.
"""

import numpy as np
import torch
from monai import transforms
from torch import Tensor

# Height, width and number of the crops of one batch: about equal numbers of pixels.
BATCHES = ((224, 224, 8), (256, 256, 8), (256, 320, 6), (384, 384, 3), (512, 512, 2))


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
