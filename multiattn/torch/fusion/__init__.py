from multiattn.torch.fusion.asff import ASFF

__all__ = ["ASFF"]
