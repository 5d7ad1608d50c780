"""The modules for Flax nnx: channels last."""

from multiattn.flax.channel import *
from multiattn.flax.conv import *
from multiattn.flax.fusion import *
from multiattn.flax.self_attention import *
from multiattn.flax.spatial import *
