"""Recurrent layers."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from .common import promote
from .dropout import Dropout
from .initializers import uniform


class LSTM(nnx.Module):
    """Long short-term memory, (N, L, input_size) -> (N, L, hidden_size · directions).

    Args:
        dropout: rate of the dropout between layers.
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
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.num_layers = num_layers
        self.directions = ("", "_reverse") if bidirectional else ("",)
        self.dropout = Dropout(dropout, rngs=rngs)
        self.dtype = dtype
        initialize = uniform(1 / math.sqrt(hidden_size))
        gates, width = 4 * hidden_size, input_size
        for layer in range(num_layers):
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (gates, width),
                "weight_hh": (gates, hidden_size),
            }
            if bias:
                shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
            for direction in self.directions:
                for name, shape in shapes.items():
                    parameter = nnx.Param(initialize(rngs.params(), shape, param_dtype))
                    setattr(self, f"{name}_l{layer}{direction}", parameter)
            width = hidden_size * len(self.directions)

    def __call__(self, x: jax.Array, return_state: bool = False):
        """The output or, if so asked, (output, (h, c)), these (layers · directions, N, hidden)."""
        states = []
        for layer in range(self.num_layers):
            if layer > 0:
                x = self.dropout(x)
            runs = [self._run(x, f"_l{layer}{direction}") for direction in self.directions]
            x = jnp.concatenate([output for output, _ in runs], -1)
            states += [state for _, state in runs]
        hidden, cell = (jnp.stack(parts) for parts in zip(*states, strict=True))
        return (x, (hidden, cell)) if return_state else x

    def _run(self, x: jax.Array, suffix: str):
        """One layer in one direction: its output and its last (hidden, cell)."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        parameters = (getattr(self, name + suffix, None) for name in names)
        x, weight_ih, weight_hh, bias_ih, bias_hh = promote(self.dtype, x, *parameters)
        inputs = x @ weight_ih.T
        if bias_ih is not None:
            inputs += bias_ih + bias_hh

        def step(state, gates):
            hidden, cell = state
            enter, forget, new, leave = jnp.split(gates + hidden @ weight_hh.T, 4, -1)
            cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(new)
            hidden = jax.nn.sigmoid(leave) * jnp.tanh(cell)
            return (hidden, cell), hidden

        start = jnp.zeros((len(x), weight_hh.shape[1]), x.dtype)
        backwards = suffix.endswith("_reverse")
        state, x = lax.scan(step, (start, start), inputs.swapaxes(0, 1), reverse=backwards)
        return x.swapaxes(0, 1), state
