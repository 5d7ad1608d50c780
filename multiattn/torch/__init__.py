"""The modules for PyTorch: channels first."""

from multiattn.torch.channel import *
from multiattn.torch.conv import *
from multiattn.torch.fusion import *
from multiattn.torch.self_attention import *
from multiattn.torch.spatial import *
