from multiattn.flax.conv.asymmetric_conv_block import AsymmetricConvBlock
from multiattn.flax.conv.cond_conv import CondConv
from multiattn.flax.conv.depthwise_overparameterized_conv import DepthwiseOverparameterizedConv
from multiattn.flax.conv.dynamic_conv import DynamicConv
from multiattn.flax.conv.lightweight_conv import LightweightConv
from multiattn.flax.conv.octave_conv import OctaveConv
from multiattn.flax.conv.omni_dimensional_dynamic_conv import OmniDimensionalDynamicConv
from multiattn.flax.conv.pyramid_split_attention import PyramidSplitAttention
from multiattn.flax.conv.selective_kernel import SelectiveKernel
from multiattn.flax.conv.split_attention import SplitAttention

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
