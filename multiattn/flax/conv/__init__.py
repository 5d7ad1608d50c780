from multiattn.flax.conv.omni_dimensional_dynamic_conv import OmniDimensionalDynamicConv

__all__ = ["OmniDimensionalDynamicConv"]
