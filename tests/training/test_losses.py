import pytest
import torch
from monai.losses import DiceCELoss

from napari_rwkv_seg.training.losses import weighted_dice_ce_loss


@pytest.fixture
def answer() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(42)
    return torch.randn(2, 3, 7, 11), torch.randint(0, 3, (2, 7, 11))


def test_with_equal_weights_the_loss_is_that_of_monai(answer):
    logits, target = answer
    monai_loss = DiceCELoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        smooth_nr=1,
        smooth_dr=1,
        lambda_dice=0.5,
        lambda_ce=0.5,
    )
    ours = weighted_dice_ce_loss(logits, target, torch.ones(2, 7, 11))
    torch.testing.assert_close(ours, monai_loss(logits, target[:, None]))


def test_ignored_pixels_have_no_gradient_and_do_not_change_the_loss(answer):
    logits, target = answer
    logits.requires_grad_()
    weight = torch.ones(2, 7, 11)
    weight[:, :3] = 0
    loss = weighted_dice_ce_loss(logits, target, weight)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[:, :, :3] == 0).all()
    assert (logits.grad[:, :, 3:] != 0).any()
    other = target.clone()
    other[:, :3] = 2 - other[:, :3]
    torch.testing.assert_close(weighted_dice_ce_loss(logits, other, weight), loss)


def test_a_batch_without_any_checked_pixel_is_finite(answer):
    logits, target = answer
    assert weighted_dice_ce_loss(logits, target, torch.zeros(2, 7, 11)).isfinite()
