import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


def with_neighbours(chunks: Tensor) -> Tensor:
    """Each chunk with the one before and the one after it: (N, R, M, K, C) -> (N, R, M, 3K, C)."""
    return torch.cat([chunks, chunks.roll(1, 2), chunks.roll(-1, 2)], 3)


class NonLocalSparseAttention(nn.Module):
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

    Shape:
        x (N, C, H, W), and optionally the hashes' random projections, standard normal of shape
        (1, C // reduction, num_hashes, B / 2), which are drawn at every call if None
        -> (N, C, H, W). B = min(128, H · W // chunk_size, made even).

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
    ):
        super().__init__()
        checks.positive(self, channels=channels, num_hashes=num_hashes, chunk_size=chunk_size)
        checks.divisible(self, by="reduction", channels=channels, reduction=reduction)
        checks.odd(self, kernel_size=kernel_size)
        hidden = channels // reduction
        self.num_hashes = num_hashes
        self.chunk_size = chunk_size
        self.res_scale = res_scale
        self.conv_match = nn.Conv2d(channels, hidden, kernel_size, padding=kernel_size // 2)
        self.conv_assembly = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, rotations: Tensor | None = None) -> Tensor:
        length = x.shape[2] * x.shape[3]
        if length < self.chunk_size:
            checks.fail(self, f"chunk_size ({self.chunk_size}) must not exceed H * W ({length})")
        embedding = self.conv_match(x).flatten(2).mT
        values = self.conv_assembly(x).flatten(2).mT
        if rotations is None:
            chunks = length // self.chunk_size
            shape = (1, embedding.shape[2], self.num_hashes, min(chunks + chunks % 2, 128) // 2)
            rotations = torch.randn(shape, dtype=x.dtype, device=x.device)
        checks.sizes(
            self, (1, embedding.shape[2], self.num_hashes, None), rotations=rotations.shape
        )
        sides = torch.einsum("nlc,crb->nrlb", embedding, rotations[0])
        order = torch.cat([sides, -sides], -1).argmax(-1).argsort(stable=True)  # (N, R, L)
        places = order.argsort()
        # the last pixels once more, so that all chunks are full
        missing = -length % self.chunk_size
        steps = torch.arange(length + missing, device=x.device)
        order = order[..., torch.where(steps < length, steps, steps - missing)]

        def chunked(tokens: Tensor) -> Tensor:
            index = order.flatten(1)[..., None].expand(-1, -1, tokens.shape[-1])
            return tokens.gather(1, index).unflatten(1, (self.num_hashes, -1, self.chunk_size))

        def in_place(chunks: Tensor) -> Tensor:
            index = places[..., None].expand(-1, -1, -1, chunks.shape[-1])
            return chunks.flatten(2, 3).gather(2, index)

        keys = with_neighbours(chunked(F.normalize(embedding, dim=-1, eps=5e-5)))
        scores = chunked(embedding) @ keys.mT
        mass = scores.logsumexp(-1, keepdim=True)
        context = (scores - mass).exp() @ with_neighbours(chunked(values))
        context = (in_place(context) * in_place(mass).softmax(1)).sum(1)
        return self.res_scale * context.mT.reshape(x.shape) + x
