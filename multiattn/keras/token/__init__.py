from multiattn.keras.token.global_filter import GlobalFilter

__all__ = [
    "GlobalFilter",
]
