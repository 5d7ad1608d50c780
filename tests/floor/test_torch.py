"""What PyTorch's own ground floor adds computes what torch.nn does."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from multiattn.torch.nn import BatchNorm2d, MaxPool1d, affine_grid


@pytest.mark.parametrize("length", [8, 9])
@pytest.mark.parametrize(
    "options", [{}, {"stride": 3, "padding": 1}, {"dilation": 2, "ceil_mode": True}]
)
def test_max_pool_is_that_of_torch(length: int, options: dict) -> None:
    x = torch.randn(2, 3, length, dtype=torch.float64, requires_grad=True)
    ours, theirs = MaxPool1d(2, **options)(x), nn.MaxPool1d(2, **options)(x)
    assert torch.equal(ours, theirs)
    weights = torch.randn_like(ours)
    (one,), (other,) = (torch.autograd.grad((y * weights).sum(), x) for y in (ours, theirs))
    assert torch.equal(one, other)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(5, 4), (1, 7)])
def test_affine_grid_is_that_of_torch(size: tuple[int, int], align_corners: bool) -> None:
    theta = torch.randn(2, 2, 3, dtype=torch.float64)
    ours = affine_grid(theta, size, align_corners=align_corners)
    theirs = F.affine_grid(theta, [2, 1, *size], align_corners=align_corners)
    assert torch.allclose(ours, theirs, atol=1e-12)


def test_batch_norm_without_scale_has_a_bias_alone() -> None:
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    ours, theirs = BatchNorm2d(3, scale=False).double(), nn.BatchNorm2d(3).double()
    assert torch.equal(ours(x), theirs(x))
    assert set(ours.state_dict()) == set(theirs.state_dict()) - {"weight"}
    assert torch.equal(ours.running_var, theirs.running_var)
