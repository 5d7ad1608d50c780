from multiattn.torch.token.global_filter import GlobalFilter

__all__ = [
    "GlobalFilter",
]
