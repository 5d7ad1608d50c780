from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


def resample(x: jax.Array, centres: jax.Array, halves: jax.Array, out_size: int) -> jax.Array:
    """Cuts a softly masked range out of the first of three axes, and enlarges it to out_size."""
    size = x.shape[1]
    halves = jnp.maximum(halves, size / 3)[:, None]
    centres = jnp.minimum(jnp.maximum(centres[:, None], halves), size - halves)
    first = jnp.floor(jnp.maximum(centres - halves, 0))
    end = jnp.floor(jnp.minimum(centres + halves, size))
    steps = jnp.arange(out_size, dtype=first.dtype)
    places = first + steps * ((end - 1 - first) / max(out_size - 1, 1))
    low = jnp.floor(places)
    pixels = jnp.concatenate([low, jnp.minimum(low + 1, end - 1)], 1)  # (N, 2 · out_size)
    weights = jnp.concatenate([low + 1 - places, places - low], 1)
    mask = nn.sigmoid(10 * (pixels - first)) - nn.sigmoid(10 * (pixels - end))
    taken = x[jnp.arange(len(x))[:, None], pixels.astype(int)]
    taken = taken * (weights * mask).astype(x.dtype)[..., None, None]
    return taken.reshape(len(x), 2, out_size, *x.shape[2:]).sum(1)


def crop(images: jax.Array, squares: jax.Array, out_size: int) -> jax.Array:
    """Cuts squares (row, column, half side) out of images, and enlarges them."""
    rows, columns, halves = squares.T
    images = resample(images, rows, halves, out_size).swapaxes(1, 2)
    return resample(images, columns, halves, out_size).swapaxes(1, 2)


def pull(
    upstream: jax.Array, images: jax.Array, squares: jax.Array
) -> tuple[jax.Array | None, jax.Array]:
    """Squares move to where the crop's gradient is large, and grow if that is at their borders."""
    size = upstream.shape[1]
    steps = 3 * jnp.arange(size)
    side = (steps >= 2 * size).astype(squares.dtype) - (steps < size).astype(squares.dtype)
    force = -jnp.square(upstream.astype(squares.dtype)).sum(-1)
    border = jnp.maximum(jnp.abs(side), jnp.abs(side)[:, None])
    forces = [force * side[:, None], force * side, force * (2 * border - 1)]
    return None, jnp.stack(forces, 1).sum((2, 3))


class AttentionProposal(nnx.Module):
    """Predicts the square of an image that is worth a closer look, and enlarges it.

    "Look Closer to See Better: Recurrent Attention Convolutional Neural Network for Fine-grained
    Image Recognition", Fu et al., CVPR 2017. The square's gradient is the paper's, made by hand.

    Args:
        in_channels: channels of the features.
        feature_size: height and width of the features; an int for both.
        hidden_channels: hidden units of the head that predicts the square.
        out_size: height, and width, of the crops.

    Shape:
        images (N, A, A, K), features (N, h, w, C) -> crops (N, S, S, K); locations (N, 3) in
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
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(
            self, in_channels=in_channels, hidden_channels=hidden_channels, out_size=out_size
        )
        size = (feature_size, feature_size) if isinstance(feature_size, int) else feature_size
        checks.length(self, 2, feature_size=size)
        checks.positive(self, feature_size=size)
        height, width = size
        self.feature_size = (height, width)
        self.out_size = out_size
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.apn = nn.Sequential(
            nn.Linear(in_channels * height * width, hidden_channels, **layer),
            nn.tanh,
            nn.Linear(hidden_channels, 3, **layer),
        )

    def __call__(self, images: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        images, features = nn.promote(self.dtype, images, features)
        size = images.shape[1]
        checks.sizes(self, (size, size), images=images.shape[1:3])
        checks.sizes(self, self.feature_size, features=features.shape[1:3])
        locations = nn.sigmoid(self.apn(nn.flatten(features)))
        # coordinates need more digits than half precision has
        squares = size * locations.astype(jnp.promote_types(locations.dtype, jnp.float32))
        crops = nn.custom_gradient(partial(crop, out_size=self.out_size), pull, images, squares)
        return crops, locations
