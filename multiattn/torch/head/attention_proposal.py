from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import custom_gradient


def resample(x: Tensor, centres: Tensor, halves: Tensor, out_size: int) -> Tensor:
    """Cuts a softly masked range out of the last of four axes, and enlarges it to out_size."""
    size = x.shape[-1]
    halves = halves.clamp(min=size / 3)[:, None]
    centres = torch.minimum(torch.maximum(centres[:, None], halves), size - halves)
    first = (centres - halves).clamp(min=0).floor()
    end = (centres + halves).clamp(max=size).floor()
    steps = torch.arange(out_size, dtype=first.dtype, device=x.device)
    places = first + steps * ((end - 1 - first) / max(out_size - 1, 1))
    low = places.floor()
    pixels = torch.cat([low, torch.minimum(low + 1, end - 1)], 1)  # (N, 2 · out_size)
    weights = torch.cat([low + 1 - places, places - low], 1)
    mask = torch.sigmoid(10 * (pixels - first)) - torch.sigmoid(10 * (pixels - end))
    taken = x.gather(-1, pixels.long()[:, None, None].expand(-1, *x.shape[1:3], -1))
    taken = taken * (weights * mask).to(x.dtype)[:, None, None]
    return taken.unflatten(-1, (2, -1)).sum(-2)


def crop(images: Tensor, squares: Tensor, out_size: int) -> Tensor:
    """Cuts squares (row, column, half side) out of images, and enlarges them."""
    rows, columns, halves = squares.unbind(1)
    return resample(resample(images.mT, rows, halves, out_size).mT, columns, halves, out_size)


def pull(upstream: Tensor, images: Tensor, squares: Tensor) -> tuple[None, Tensor]:
    """Squares move to where the crop's gradient is large, and grow if that is at their borders."""
    size = upstream.shape[-1]
    steps = 3 * torch.arange(size, device=upstream.device)
    side = (steps >= 2 * size).to(squares.dtype) - (steps < size).to(squares.dtype)
    force = -upstream.to(squares.dtype).square().sum(1)
    border = torch.maximum(side.abs(), side.abs()[:, None])
    forces = [force * side[:, None], force * side, force * (2 * border - 1)]
    return None, torch.stack(forces, 1).sum((2, 3))


class AttentionProposal(nn.Module):
    """Predicts the square of an image that is worth a closer look, and enlarges it.

    "Look Closer to See Better: Recurrent Attention Convolutional Neural Network for Fine-grained
    Image Recognition", Fu et al., CVPR 2017. The square's gradient is the paper's, made by hand.

    Args:
        in_channels: channels of the features.
        feature_size: height and width of the features; an int for both.
        hidden_channels: hidden units of the head that predicts the square.
        out_size: height, and width, of the crops.

    Shape:
        images (N, K, A, A), features (N, C, h, w) -> crops (N, K, S, S); locations (N, 3) in
        (0, 1), as parts of A: the square's centre (row, column), and half its side.

    Raises:
        ValueError: the images aren't square, or the features aren't of feature_size.
    """

    def __init__(
        self,
        in_channels: int,
        feature_size: int | Sequence[int],
        *,
        hidden_channels: int = 1024,
        out_size: int = 224,
    ):
        super().__init__()
        checks.positive(
            self, in_channels=in_channels, hidden_channels=hidden_channels, out_size=out_size
        )
        size = (feature_size, feature_size) if isinstance(feature_size, int) else feature_size
        checks.length(self, 2, feature_size=size)
        checks.positive(self, feature_size=size)
        height, width = size
        self.feature_size = (height, width)
        self.out_size = out_size
        self.apn = nn.Sequential(
            nn.Linear(in_channels * height * width, hidden_channels),
            nn.Tanh(),
            nn.Linear(hidden_channels, 3),
        )

    def forward(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        size = images.shape[2]
        checks.sizes(self, (size, size), images=images.shape[2:])
        checks.sizes(self, self.feature_size, features=features.shape[2:])
        locations = torch.sigmoid(self.apn(features.flatten(1)))
        # coordinates need more digits than half precision has
        squares = size * locations.to(torch.promote_types(locations.dtype, torch.float32))
        crops = custom_gradient(partial(crop, out_size=self.out_size), pull, images, squares)
        return crops, locations
