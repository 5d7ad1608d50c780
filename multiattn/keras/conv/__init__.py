from multiattn.keras.conv.asymmetric_conv_block import AsymmetricConvBlock
from multiattn.keras.conv.cond_conv import CondConv
from multiattn.keras.conv.depthwise_overparameterized_conv import DepthwiseOverparameterizedConv
from multiattn.keras.conv.dynamic_conv import DynamicConv
from multiattn.keras.conv.lightweight_conv import LightweightConv
from multiattn.keras.conv.octave_conv import OctaveConv
from multiattn.keras.conv.omni_dimensional_dynamic_conv import OmniDimensionalDynamicConv
from multiattn.keras.conv.pyramid_split_attention import PyramidSplitAttention
from multiattn.keras.conv.selective_kernel import SelectiveKernel
from multiattn.keras.conv.split_attention import SplitAttention

__all__ = [
    "AsymmetricConvBlock",
    "CondConv",
    "DepthwiseOverparameterizedConv",
    "DynamicConv",
    "LightweightConv",
    "OctaveConv",
    "OmniDimensionalDynamicConv",
    "PyramidSplitAttention",
    "SelectiveKernel",
    "SplitAttention",
]
