import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


def with_neighbours(chunks: jax.Array) -> jax.Array:
    """Each chunk with the one before and the one after it: (N, R, M, K, C) -> (N, R, M, 3K, C)."""
    return jnp.concatenate([chunks, jnp.roll(chunks, 1, 2), jnp.roll(chunks, -1, 2)], 3)


class NonLocalSparseAttention(nnx.Module):
    """Non-local attention among pixels that random projections hash alike, over several rounds.

    "Image Super-Resolution with Non-Local Sparse Attention", Mei et al., CVPR 2021.

    Args:
        channels: channels of the input, and of the output; a multiple of reduction.
        num_hashes: rounds of hashing.
        kernel_size: of the convolution that makes what is hashed and matched; odd.
        reduction: what is hashed and matched has channels // reduction channels.
        chunk_size: how many pixels, in the order of their hashes, attend to each other and to
            the chunks before and after.
        res_scale: factor of what is added to the input.
        rngs: its stream "dropout" draws the projections.

    Shape:
        x (N, H, W, C), and optionally the hashes' random projections, standard normal of shape
        (1, C // reduction, num_hashes, B / 2), which are drawn at every call if None
        -> (N, H, W, C). B = min(128, H · W // chunk_size, made even).

    Raises:
        ValueError: x has fewer pixels than a chunk, or rotations have another shape.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_hashes: int = 4,
        kernel_size: int = 3,
        reduction: int = 4,
        chunk_size: int = 144,
        res_scale: float = 1.0,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, num_hashes=num_hashes, chunk_size=chunk_size)
        checks.divisible(self, by="reduction", channels=channels, reduction=reduction)
        checks.odd(self, kernel_size=kernel_size)
        hidden = channels // reduction
        self.num_hashes = num_hashes
        self.chunk_size = chunk_size
        self.res_scale = res_scale
        self.dtype = dtype
        self.rngs = rngs["dropout"].fork()
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv_match = nn.Conv2d(
            channels, hidden, kernel_size, padding=kernel_size // 2, **layer
        )
        self.conv_assembly = nn.Conv2d(channels, channels, 1, **layer)

    def __call__(self, x: jax.Array, rotations: jax.Array | None = None) -> jax.Array:
        x = nn.promote(self.dtype, x)
        length = x.shape[1] * x.shape[2]
        if length < self.chunk_size:
            checks.fail(self, f"chunk_size ({self.chunk_size}) must not exceed H * W ({length})")
        embedding = self.conv_match(x).reshape(len(x), length, -1)
        values = self.conv_assembly(x).reshape(len(x), length, -1)
        if rotations is None:
            chunks = length // self.chunk_size
            shape = (1, embedding.shape[2], self.num_hashes, min(chunks + chunks % 2, 128) // 2)
            rotations = jax.random.normal(self.rngs(), shape, x.dtype)
        checks.sizes(
            self, (1, embedding.shape[2], self.num_hashes, None), rotations=rotations.shape
        )
        sides = jnp.einsum("nlc,crb->nrlb", embedding, rotations[0])
        order = jnp.argsort(jnp.concatenate([sides, -sides], -1).argmax(-1), stable=True)
        places = jnp.argsort(order)  # (N, R, L), like the order
        # the last pixels once more, so that all chunks are full
        missing = -length % self.chunk_size
        steps = jnp.arange(length + missing)
        order = order[..., jnp.where(steps < length, steps, steps - missing)]
        images = jnp.arange(len(x))[:, None, None]

        def chunked(tokens: jax.Array) -> jax.Array:
            taken = tokens[images, order]
            return taken.reshape(*taken.shape[:2], -1, self.chunk_size, taken.shape[-1])

        def in_place(chunks: jax.Array) -> jax.Array:
            tokens = chunks.reshape(*chunks.shape[:2], -1, chunks.shape[-1])
            return jnp.take_along_axis(tokens, places[..., None], 2)

        keys = with_neighbours(chunked(nn.normalize(embedding, axis=-1, eps=5e-5)))
        scores = chunked(embedding) @ keys.mT
        mass = jax.nn.logsumexp(scores, -1, keepdims=True)
        context = jnp.exp(scores - mass) @ with_neighbours(chunked(values))
        context = (in_place(context) * nn.softmax(in_place(mass), 1)).sum(1)
        return self.res_scale * context.reshape(x.shape) + x
