from multiattn.keras.channel.eca import ECA
from multiattn.keras.channel.squeeze_excitation import SqueezeExcitation

__all__ = ["ECA", "SqueezeExcitation"]
