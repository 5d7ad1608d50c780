from multiattn.keras.fusion.asff import ASFF

__all__ = ["ASFF"]
