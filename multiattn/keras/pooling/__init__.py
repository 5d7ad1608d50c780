from multiattn.keras.pooling.border_align import BorderAlign

__all__ = [
    "BorderAlign",
]
