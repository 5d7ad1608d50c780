from multiattn.flax.self_attention.dual_attention import (
    ChannelSelfAttention,
    DualAttention,
    PositionAttention,
)
from multiattn.flax.self_attention.non_local import NonLocal

__all__ = ["ChannelSelfAttention", "DualAttention", "NonLocal", "PositionAttention"]
