import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class LSTM2D(nnx.Module):
    """Mixes a map along its columns and along its rows with two LSTMs, and projects back.

    "Sequencer: Deep LSTM for Image Classification", Tatsunami and Taki, NeurIPS 2022.

    Args:
        channels: channels of the input, and of the output.
        hidden_channels: channels of an LSTM's state.
        num_layers: of each LSTM.
        bidirectional: each LSTM runs both ways, which doubles its output's channels.
        union: "cat" or "add" joins both; "vertical" or "horizontal" has only one of them.
        with_fc: False leaves out the projection: what is joined must have `channels` channels.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = True,
        union: str = "cat",
        with_fc: bool = True,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, hidden_channels=hidden_channels)
        checks.positive(self, num_layers=num_layers)
        checks.choice(self, ("cat", "add", "vertical", "horizontal"), union=union)
        joined = hidden_channels * (2 if bidirectional else 1) * (2 if union == "cat" else 1)
        if not with_fc and joined != channels:
            checks.fail(self, f"without fc channels ({channels}) must be what is joined ({joined})")
        self.union = union
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}

        def lstm() -> nn.LSTM:
            return nn.LSTM(
                channels,
                hidden_channels,
                num_layers=num_layers,
                bidirectional=bidirectional,
                **layer,
            )

        self.rnn_v = None if union == "horizontal" else lstm()
        self.rnn_h = None if union == "vertical" else lstm()
        self.fc = (
            nn.Linear(
                joined,
                channels,
                weight_init=nn.initializers.xavier_uniform(),
                bias_init=nn.initializers.zeros,
                **layer,
            )
            if with_fc
            else nn.Identity()
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        n, height, width, c = x.shape
        runs = []
        if self.rnn_v is not None:
            columns = x.swapaxes(1, 2).reshape(n * width, height, c)
            mixed = self.rnn_v(columns)
            runs.append(mixed.reshape(n, width, height, -1).swapaxes(1, 2))
        if self.rnn_h is not None:
            mixed = self.rnn_h(x.reshape(n * height, width, c))
            runs.append(mixed.reshape(n, height, width, -1))
        joined = sum(runs) if self.union == "add" else jnp.concatenate(runs, -1)
        return self.fc(joined)
