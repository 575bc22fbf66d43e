"""The loss: cross entropy and Dice in equal parts, with a weight for every pixel.

Own code because MONAI's `DiceCELoss` knows no weight or ignore mask per pixel;
with all weights 1 it agrees with it, which the tests check.
"""

import torch
from torch import Tensor
from torch.nn import functional


def weighted_dice_ce_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return half the cross entropy plus half the soft Dice loss.

    Parameters
    ----------
    logits : Tensor, shape (B, K, Y, X)
        Of K classes.
    target : Tensor of int64, shape (B, Y, X)
        True class of each pixel.
    weight : Tensor of float, shape (B, Y, X)
        How much a pixel counts, 0 or more; 0 means that it is ignored.

    Returns
    -------
    Tensor
        A scalar; the Dice loss is the mean over the images and the classes
        other than background, each with Laplace smoothing 1.
    """
    logits = logits.float()
    entropy = functional.cross_entropy(logits, target, reduction="none")
    entropy = (entropy * weight).sum() / weight.sum().clamp(min=1)
    probability = logits.softmax(1)[:, 1:]
    truth = functional.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:].to(probability)
    mask = weight[:, None]
    overlap = (mask * probability * truth).sum((2, 3))
    total = (mask * probability).sum((2, 3)) + (mask * truth).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return 0.5 * entropy + 0.5 * torch.mean(dice)
