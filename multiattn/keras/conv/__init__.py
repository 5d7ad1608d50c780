from multiattn.keras.conv.omni_dimensional_dynamic_conv import OmniDimensionalDynamicConv

__all__ = ["OmniDimensionalDynamicConv"]
