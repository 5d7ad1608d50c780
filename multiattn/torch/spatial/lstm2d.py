import torch
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import LSTM


class LSTM2D(nn.Module):
    """Mixes a map along its columns and along its rows with two LSTMs, and projects back.

    "Sequencer: Deep LSTM for Image Classification", Tatsunami and Taki, NeurIPS 2022.

    Args:
        channels: channels of the input, and of the output.
        hidden_channels: channels of an LSTM's state.
        num_layers: of each LSTM.
        bidirectional: each LSTM runs both ways, which doubles its output's channels.
        union: "cat" or "add" joins both; "vertical" or "horizontal" has only one of them.
        with_fc: False leaves out the projection: what is joined must have `channels` channels.

    Shape: (N, C, H, W) -> (N, C, H, W)
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
    ):
        super().__init__()
        checks.positive(self, channels=channels, hidden_channels=hidden_channels)
        checks.positive(self, num_layers=num_layers)
        checks.choice(self, ("cat", "add", "vertical", "horizontal"), union=union)
        joined = hidden_channels * (2 if bidirectional else 1) * (2 if union == "cat" else 1)
        if not with_fc and joined != channels:
            checks.fail(self, f"without fc channels ({channels}) must be what is joined ({joined})")
        self.union = union

        def lstm() -> LSTM:
            return LSTM(
                channels, hidden_channels, num_layers=num_layers, bidirectional=bidirectional
            )

        self.rnn_v = None if union == "horizontal" else lstm()
        self.rnn_h = None if union == "vertical" else lstm()
        self.fc = nn.Linear(joined, channels) if with_fc else nn.Identity()
        if with_fc:
            nn.init.xavier_uniform_(self.fc.weight)
            nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        runs = []
        if self.rnn_v is not None:
            columns = x.transpose(1, 2)
            mixed = self.rnn_v(columns.flatten(0, 1))
            runs.append(mixed.unflatten(0, columns.shape[:2]).transpose(1, 2))
        if self.rnn_h is not None:
            mixed = self.rnn_h(x.flatten(0, 1))
            runs.append(mixed.unflatten(0, x.shape[:2]))
        joined = sum(runs) if self.union == "add" else torch.cat(runs, -1)
        return self.fc(joined).permute(0, 3, 1, 2)
