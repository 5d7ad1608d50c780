from keras import ops

from multiattn import checks
from multiattn.keras import nn


class LSTM2D(nn.Module):
    """Mixes a map along its columns and along its rows with two LSTMs, and projects back.

    "Sequencer: Deep LSTM for Image Classification", Tatsunami and Taki, NeurIPS 2022.

    Args:
        hidden_channels: channels of an LSTM's state.
        num_layers: of each LSTM.
        bidirectional: each LSTM runs both ways, which doubles its output's channels.
        union: "cat" or "add" joins both; "vertical" or "horizontal" has only one of them.
        with_fc: False leaves out the projection: what is joined must have as many channels as the
            input.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        hidden_channels: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = True,
        union: str = "cat",
        with_fc: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, hidden_channels=hidden_channels, num_layers=num_layers)
        checks.choice(self, ("cat", "add", "vertical", "horizontal"), union=union)
        self.hidden_channels = hidden_channels
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.union = union
        self.with_fc = with_fc

    def setup(self, shape):
        channels = shape[-1]
        directions = 2 if self.bidirectional else 1
        joined = self.hidden_channels * directions * (2 if self.union == "cat" else 1)
        if not self.with_fc and joined != channels:
            checks.fail(self, f"without fc channels ({channels}) must be what is joined ({joined})")

        def lstm() -> nn.LSTM:
            return nn.LSTM(
                self.hidden_channels,
                num_layers=self.num_layers,
                bidirectional=self.bidirectional,
            )

        self.rnn_v = None if self.union == "horizontal" else lstm()
        self.rnn_h = None if self.union == "vertical" else lstm()
        self.fc = (
            nn.Linear(
                channels,
                kernel_initializer=nn.initializers.xavier_uniform(),
                bias_initializer=nn.initializers.zeros,
            )
            if self.with_fc
            else nn.Identity()
        )

    def call(self, x, training=None):
        n, height, width, c = ops.shape(x)
        runs = []
        if self.rnn_v is not None:
            columns = ops.reshape(ops.swapaxes(x, 1, 2), (n * width, height, c))
            mixed = self.rnn_v(columns, training=training)
            mixed = ops.reshape(mixed, (n, width, height, mixed.shape[-1]))
            runs.append(ops.swapaxes(mixed, 1, 2))
        if self.rnn_h is not None:
            rows = ops.reshape(x, (n * height, width, c))
            mixed = self.rnn_h(rows, training=training)
            runs.append(ops.reshape(mixed, (n, height, width, mixed.shape[-1])))
        joined = sum(runs) if self.union == "add" else ops.concatenate(runs, -1)
        return self.fc(joined)
