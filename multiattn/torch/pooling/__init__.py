from multiattn.torch.pooling.border_align import BorderAlign

__all__ = [
    "BorderAlign",
]
