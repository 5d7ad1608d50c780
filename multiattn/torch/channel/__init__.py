from multiattn.torch.channel.eca import ECA
from multiattn.torch.channel.squeeze_excitation import SqueezeExcitation

__all__ = ["ECA", "SqueezeExcitation"]
