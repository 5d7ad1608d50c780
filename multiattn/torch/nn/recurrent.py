import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, Tensor]


class LSTM(nn.RNNBase):
    """torch.nn.LSTM, batch first, which torch.compile takes and torch.export binds to no length.

    Args:
        input_size: channels of the input.
        hidden_size: channels of the hidden state.
        num_layers: number of layers, each over the one before.
        bias: whether there are learned biases.
        bidirectional: whether a second one runs backwards, its channels behind the first one's.
        dropout: rate of dropout between the layers.

    Shape: (N, L, input_size) -> (N, L, hidden_size * directions)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bias: bool = True,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, True, dropout, bidirectional
        )

    def forward(self, x: Tensor, return_state: bool = False) -> Tensor | tuple[Tensor, State]:
        """The output or, if so asked, (output, (h, c)), these (layers * directions, N, hidden)."""
        output, *state = self._scanned(x) if torch.compiler.is_exporting() else self._fused(x)
        return (output, tuple(state)) if return_state else output

    def _fused(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        layers = self.num_layers * (2 if self.bidirectional else 1)
        zeros = x.new_zeros(layers, x.shape[0], self.hidden_size)
        return torch.lstm(
            x,
            (zeros, zeros),
            [getattr(self, name) for name in self._flat_weights_names],
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
            True,
        )

    def _scanned(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, cells = [], []
        for layer in range(self.num_layers):
            if layer > 0:
                x = F.dropout(x, self.dropout, self.training)
            runs = []
            for direction in ("", "_reverse") if self.bidirectional else ("",):
                output, h, c = self._run(x, f"_l{layer}{direction}")
                runs.append(output)
                hidden.append(h)
                cells.append(c)
            x = torch.cat(runs, -1)
        return x, torch.stack(hidden), torch.stack(cells)

    def _run(self, x: Tensor, suffix: str) -> tuple[Tensor, Tensor, Tensor]:
        """One layer in one direction: its output and its last state."""
        from torch._higher_order_ops.scan import scan

        weight_ih, weight_hh = (getattr(self, name + suffix) for name in ("weight_ih", "weight_hh"))
        inputs = (x @ weight_ih.mT).transpose(0, 1)
        if self.bias:
            inputs = inputs + getattr(self, f"bias_ih{suffix}") + getattr(self, f"bias_hh{suffix}")

        def step(state: State, gates: Tensor) -> tuple[State, Tensor]:
            h, c = state
            enter, forget, new, leave = (gates + h @ weight_hh.mT).chunk(4, -1)
            c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(new)
            h = torch.sigmoid(leave) * torch.tanh(c)
            return (h, c), h.clone()

        zeros = (inputs.new_zeros(x.shape[0], self.hidden_size) for _ in range(2))
        (h, c), output = scan(step, tuple(zeros), inputs, reverse=suffix.endswith("_reverse"))
        return output.transpose(0, 1), h, c
