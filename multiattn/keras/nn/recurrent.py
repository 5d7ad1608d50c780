"""LSTM."""

import math

from keras import ops
from keras.layers import Dropout
from keras.src import backend

from .initializers import uniform
from .module import Module


class LSTM(Module):
    """Long short-term memory over (N, L, C), gates in the order input, forget, cell, output.

    Args:
        hidden_size: channels of the hidden state.
        num_layers: number of layers, each over the one before.
        bias: whether there are learned biases.
        bidirectional: whether a second one runs backwards, its channels behind the first one's.
        dropout: rate of dropout between the layers.

    Shape: (N, L, C) -> (N, L, hidden_size · directions)
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bias: bool = True,
        bidirectional: bool = False,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.use_bias = bias
        self.directions = ("", "_reverse") if bidirectional else ("",)
        self.dropout_rate = dropout

    def setup(self, shape):
        self.dropout = Dropout(self.dropout_rate)
        gates = 4 * self.hidden_size
        initializer = uniform(1 / math.sqrt(self.hidden_size))
        for layer in range(self.num_layers):
            width = self.hidden_size * len(self.directions) if layer else shape[-1]
            shapes = {"weight_ih": (gates, width), "weight_hh": (gates, self.hidden_size)}
            if self.use_bias:
                shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
            for direction in self.directions:
                for kind, shape in shapes.items():
                    name = f"{kind}_l{layer}{direction}"
                    setattr(
                        self, name, self.add_weight(name=name, shape=shape, initializer=initializer)
                    )

    def call(self, x, return_state: bool = False, training=None):
        """The output or, if so asked, (output, (h, c)): each (layers · directions, N, hidden)."""
        states = []
        for layer in range(self.num_layers):
            if layer > 0:
                x = self.dropout(x, training=training)
            runs = [self._run(x, f"_l{layer}{direction}") for direction in self.directions]
            x = ops.concatenate([output for output, _ in runs], -1)
            states += [state for _, state in runs]
        if not return_state:
            return x
        hidden, cell = (ops.stack(parts) for parts in zip(*states, strict=True))
        return x, (hidden, cell)

    def _run(self, x, suffix: str):
        """One layer in one direction: its output and its last (hidden, cell)."""
        recurrent = ops.transpose(getattr(self, f"weight_hh{suffix}"))
        inputs = ops.matmul(x, ops.transpose(getattr(self, f"weight_ih{suffix}")))
        if self.use_bias:
            inputs += getattr(self, f"bias_ih{suffix}") + getattr(self, f"bias_hh{suffix}")

        def step(gates, state):
            hidden, cell = state
            gates = gates + ops.matmul(hidden, recurrent)
            enter, forget, new, leave = ops.split(gates, 4, -1)
            cell = ops.sigmoid(forget) * cell + ops.sigmoid(enter) * ops.tanh(new)
            hidden = ops.sigmoid(leave) * ops.tanh(cell)
            return hidden, [hidden, cell]

        backwards = suffix.endswith("_reverse")
        start = ops.zeros_like(inputs[:, 0, : self.hidden_size])
        _, outputs, state = backend.rnn(step, inputs, [start, start], go_backwards=backwards)
        return ops.flip(outputs, 1) if backwards else outputs, state
