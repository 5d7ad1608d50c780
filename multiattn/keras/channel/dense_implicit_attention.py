from keras import ops

from multiattn import checks
from multiattn.keras import nn


class DenseImplicitGates(nn.Module):
    """The four gates of DIANet's cell from one of its inputs, by a bottleneck.

    Args:
        reduction: the bottleneck has channels // reduction channels, at least one.

    Shape: (N, C) -> (N, 4C): input, forget, cell, output
    """

    def __init__(self, *, reduction: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.reduction = reduction

    def setup(self, shape):
        channels = shape[-1]
        hidden = checks.quotient(self, channels=channels, reduction=self.reduction)
        self.fc1 = nn.Linear(hidden)
        self.fc2 = nn.Linear(4 * channels)

    def call(self, x, training=None):
        return self.fc2(nn.relu(self.fc1(x)))


class DenseImplicitAttention(nn.Module):
    """Dense and implicit attention: the channel gate is an LSTM's state, from block to block.

    "DIANet: Dense-and-Implicit Attention Network", Huang et al., AAAI 2020.

    One module serves all blocks of a stage: each is given the state that the one before returned,
    the first one none.

    Args:
        reduction: the cell's bottlenecks have channels // reduction channels, at least one.

    Shape: (N, H, W, C), h (N, C), c (N, C) -> (N, H, W, C), h (N, C), c (N, C); without h or c
        they are zero
    """

    def __init__(self, *, reduction: int = 4, **kwargs):
        super().__init__(**kwargs)
        checks.positive(self, reduction=reduction)
        self.reduction = reduction

    def setup(self, x_shape, h_shape=None, c_shape=None):
        checks.quotient(self, channels=x_shape[-1], reduction=self.reduction)
        self.ih = DenseImplicitGates(reduction=self.reduction)
        self.hh = DenseImplicitGates(reduction=self.reduction)

    def call(self, x, h=None, c=None, training=None):
        context = ops.mean(x, (1, 2))
        h = ops.zeros_like(context) if h is None else h
        c = ops.zeros_like(context) if c is None else c
        checks.sizes(self, context.shape[1:], h=h.shape[1:], c=c.shape[1:])
        gates = self.ih(context, training=training) + self.hh(h, training=training)
        enter, forget, new, leave = ops.split(gates, 4, -1)
        c = nn.sigmoid(forget) * c + nn.sigmoid(enter) * nn.tanh(new)
        h = nn.sigmoid(leave) * nn.sigmoid(c)
        return x * h[:, None, None, :], h, c
