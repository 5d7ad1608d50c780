from multiattn.torch.conv.asymmetric_conv_block import AsymmetricConvBlock
from multiattn.torch.conv.cond_conv import CondConv
from multiattn.torch.conv.depthwise_overparameterized_conv import DepthwiseOverparameterizedConv
from multiattn.torch.conv.dynamic_conv import DynamicConv
from multiattn.torch.conv.lightweight_conv import LightweightConv
from multiattn.torch.conv.octave_conv import OctaveConv
from multiattn.torch.conv.omni_dimensional_dynamic_conv import OmniDimensionalDynamicConv
from multiattn.torch.conv.pyramid_split_attention import PyramidSplitAttention
from multiattn.torch.conv.selective_kernel import SelectiveKernel
from multiattn.torch.conv.split_attention import SplitAttention

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
