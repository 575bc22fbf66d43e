"""Q-shift: a look at the four neighbours of a pixel, without parameters.

The channels are cut into four groups, and each group is taken from one
neighbour. Tokens are pixels in row-major order (t = y · width + x).
"""

from torch import Tensor


def q_shift(x: Tensor, height: int, width: int) -> Tensor:
    """Take each quarter of the channels from another neighbouring pixel.

    The groups are, in order, the left, right, upper and lower neighbour's
    (Vision-RWKV, arXiv 2403.02308); their borders are ``C * j // 4``. A
    neighbour outside the image is zero.

    Parameters
    ----------
    x : Tensor, shape (B, T, C)
        Tokens of an image, T = height · width.
    height, width : int
        Size of the image in pixels.

    Returns
    -------
    Tensor, shape (B, T, C)
        A new tensor of the dtype of `x`.

    Raises
    ------
    ValueError
        If `x` is not (B, height · width, C).
    """
    if x.dim() != 3 or x.shape[1] != height * width:
        raise ValueError(
            f"q_shift takes x of shape (B, T, C) with T = height * width = {height} * {width}, "
            f"got {tuple(x.shape)}."
        )
    batch, _, channels = x.shape
    image = x.reshape(batch, height, width, channels)
    left, right, up, down = (slice(channels * j // 4, channels * (j + 1) // 4) for j in range(4))
    shifted = image.new_zeros(image.shape)
    shifted[:, :, 1:, left] = image[:, :, :-1, left]
    shifted[:, :, :-1, right] = image[:, :, 1:, right]
    shifted[:, 1:, :, up] = image[:, :-1, :, up]
    shifted[:, :-1, :, down] = image[:, 1:, :, down]
    return shifted.reshape(batch, height * width, channels)
