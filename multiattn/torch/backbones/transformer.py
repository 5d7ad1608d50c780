import torch.nn.functional as F
from torch import Tensor, nn


def trunc_normal(layer: nn.Module) -> None:
    """Draws a linear layer as a truncated normal of deviation 0.02, without bias."""
    if isinstance(layer, nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class PatchEmbedding(nn.Module):
    """Cuts the image into square patches and maps each to a vector.

    Args:
        in_channels: channels of the images.
        embed_dim: width of the vectors.
        patch_size: height and width of a patch; what remains of the image is left out.
        bias: of the map.
        eps: of a layer norm of the vectors; None for no norm.

    Shape: (N, in_channels, H, W) -> (N, H // patch_size, W // patch_size, embed_dim)
    """

    def __init__(
        self,
        in_channels: int,
        embed_dim: int,
        *,
        patch_size: int,
        bias: bool = True,
        eps: float | None = None,
    ):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dim, patch_size, patch_size, bias=bias)
        self.norm = nn.Identity() if eps is None else nn.LayerNorm(embed_dim, eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).movedim(1, -1))


class TransformerMLP(nn.Module):
    """Two linear layers with a GELU between them.

    Args:
        channels: width of the input, and of the output.
        hidden_channels: width between them.
        dropout: behind each layer.

    Shape: (..., C) -> (..., C)
    """

    def __init__(self, channels: int, hidden_channels: int, *, dropout: float):
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.fc2 = nn.Linear(hidden_channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(x)))))
