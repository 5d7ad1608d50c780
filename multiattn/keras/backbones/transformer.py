from multiattn.keras import nn


def linear(out_features: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer, drawn as a truncated normal of deviation 0.02, without bias."""
    return nn.Linear(
        out_features,
        bias=bias,
        kernel_initializer=nn.initializers.trunc_normal(0.02),
        bias_initializer=nn.initializers.zeros,
    )


class PatchEmbedding(nn.Module):
    """Cuts the image into square patches and maps each to a vector.

    Args:
        embed_dim: width of the vectors.
        patch_size: height and width of a patch; what remains of the image is left out.
        bias: of the map.
        eps: of a layer norm of the vectors; None for no norm.

    Shape: (N, H, W, channels) -> (N, H // patch_size, W // patch_size, embed_dim)
    """

    def __init__(
        self,
        embed_dim: int,
        *,
        patch_size: int,
        bias: bool = True,
        eps: float | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.proj = nn.Conv2d(embed_dim, patch_size, stride=patch_size, bias=bias)
        self.norm = nn.Identity() if eps is None else nn.LayerNorm(eps=eps)

    def call(self, x):
        return self.norm(self.proj(x))


class TransformerMLP(nn.Module):
    """Two linear layers with a GELU between them.

    Args:
        hidden_channels: width between them.
        dropout: behind each layer.

    Shape: (..., C) -> (..., C)
    """

    def __init__(self, hidden_channels: int, *, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.hidden_channels = hidden_channels
        self.dropout = nn.Dropout(dropout)

    def setup(self, shape):
        self.fc1 = linear(self.hidden_channels)
        self.fc2 = linear(shape[-1])

    def call(self, x, training=None):
        x = self.dropout(nn.gelu(self.fc1(x)), training=training)
        return self.dropout(self.fc2(x), training=training)
