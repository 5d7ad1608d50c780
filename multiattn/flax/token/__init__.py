from multiattn.flax.token.global_filter import GlobalFilter

__all__ = [
    "GlobalFilter",
]
