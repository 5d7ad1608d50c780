"""The modules for Keras 3, on any of its backends: channels last."""

from multiattn.keras.channel import *
from multiattn.keras.conv import *
from multiattn.keras.fusion import *
from multiattn.keras.self_attention import *
from multiattn.keras.spatial import *
