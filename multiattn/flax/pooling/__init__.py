from multiattn.flax.pooling.border_align import BorderAlign

__all__ = [
    "BorderAlign",
]
