from multiattn.flax.channel.eca import ECA
from multiattn.flax.channel.squeeze_excitation import SqueezeExcitation

__all__ = ["ECA", "SqueezeExcitation"]
