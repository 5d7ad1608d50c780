import keras
from keras import ops

from multiattn import checks
from multiattn.keras import nn


def with_neighbours(chunks):
    """Each chunk with the one before and the one after it: (N, R, M, K, C) -> (N, R, M, 3K, C)."""
    return ops.concatenate([chunks, ops.roll(chunks, 1, 2), ops.roll(chunks, -1, 2)], 3)


class NonLocalSparseAttention(nn.Module):
    """Non-local attention among pixels that random projections hash alike, over several rounds.

    "Image Super-Resolution with Non-Local Sparse Attention", Mei et al., CVPR 2021.

    Args:
        num_hashes: rounds of hashing.
        kernel_size: of the convolution that makes what is hashed and matched; odd.
        reduction: what is hashed and matched has channels // reduction channels.
        chunk_size: how many pixels, in the order of their hashes, attend to each other and to
            the chunks before and after.
        res_scale: factor of what is added to the input.

    Shape:
        x (N, H, W, C), and optionally the hashes' random projections, standard normal of shape
        (1, C // reduction, num_hashes, B / 2), which are drawn at every call if None
        -> (N, H, W, C). B = min(128, H · W // chunk_size, made even).

    Raises:
        ValueError: x has fewer pixels than a chunk, or rotations have another shape.
    """

    def __init__(
        self,
        *,
        num_hashes: int = 4,
        kernel_size: int = 3,
        reduction: int = 4,
        chunk_size: int = 144,
        res_scale: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, num_hashes=num_hashes, chunk_size=chunk_size)
        checks.odd(self, kernel_size=kernel_size)
        self.num_hashes = num_hashes
        self.kernel_size = kernel_size
        self.reduction = reduction
        self.chunk_size = chunk_size
        self.res_scale = res_scale

    def setup(self, x_shape, rotations_shape=None):
        channels = x_shape[-1]
        checks.divisible(self, by="reduction", channels=channels, reduction=self.reduction)
        self.seed_generator = keras.random.SeedGenerator()
        self.conv_match = nn.Conv2d(
            channels // self.reduction, self.kernel_size, padding=self.kernel_size // 2
        )
        self.conv_assembly = nn.Conv2d(channels, 1)

    def call(self, x, rotations=None, training=None):
        n, height, width, channels = shape = ops.shape(x)
        length = height * width
        if isinstance(length, int) and length < self.chunk_size:
            checks.fail(self, f"chunk_size ({self.chunk_size}) must not exceed H * W ({length})")
        embedding = ops.reshape(self.conv_match(x), (n, length, channels // self.reduction))
        values = ops.reshape(self.conv_assembly(x), (n, length, channels))
        if rotations is None:
            chunks = length // self.chunk_size
            buckets = chunks + chunks % 2
            buckets = min(buckets, 128) if isinstance(buckets, int) else ops.minimum(buckets, 128)
            rotations = keras.random.normal(
                (1, channels // self.reduction, self.num_hashes, buckets // 2),
                dtype=x.dtype,
                seed=self.seed_generator,
            )
        checks.sizes(
            self, (1, embedding.shape[2], self.num_hashes, None), rotations=rotations.shape
        )
        sides = ops.einsum("nlc,crb->nrlb", embedding, rotations[0])
        codes = ops.cast(ops.argmax(ops.concatenate([sides, -sides], -1), -1), "int32")
        # with the places in them, no two are equal
        order = ops.sort(codes * length + ops.arange(length, dtype="int32")) % length
        places = ops.argsort(order)  # (N, R, L), like the order
        # the last pixels once more, so that all chunks are full
        missing = -length % self.chunk_size
        steps = ops.arange(length + missing, dtype="int32")
        order = ops.take(order, ops.where(steps < length, steps, steps - missing), -1)

        def taken(tokens, lists, index):
            rows = ops.reshape(tokens, (-1, tokens.shape[-1]))
            return ops.take(rows, lists * ops.shape(tokens)[-2] + index, 0)

        def chunked(tokens):
            images = ops.reshape(ops.arange(n, dtype="int32"), (n, 1, 1))
            split = (n, self.num_hashes, -1, self.chunk_size, tokens.shape[-1])
            return ops.reshape(taken(tokens, images, order), split)

        def in_place(chunks):
            rounds = ops.arange(n * self.num_hashes, dtype="int32")
            rounds = ops.reshape(rounds, (n, self.num_hashes, 1))
            chunks = ops.reshape(chunks, (n, self.num_hashes, length + missing, chunks.shape[-1]))
            return taken(chunks, rounds, places)

        keys = with_neighbours(chunked(nn.normalize(embedding, axis=-1, eps=5e-5)))
        scores = ops.matmul(chunked(embedding), ops.swapaxes(keys, -1, -2))
        mass = ops.logsumexp(scores, -1, keepdims=True)
        context = ops.matmul(ops.exp(scores - mass), with_neighbours(chunked(values)))
        context = ops.sum(in_place(context) * nn.softmax(in_place(mass), 1), 1)
        return self.res_scale * ops.reshape(context, shape) + x
