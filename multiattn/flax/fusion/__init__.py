from multiattn.flax.fusion.asff import ASFF

__all__ = ["ASFF"]
