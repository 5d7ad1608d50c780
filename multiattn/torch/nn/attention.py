import torch.nn.functional as F
from torch import Tensor


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None
) -> Tensor:
    """torch's over tokens (N, L, d) of one head, as it is fused: a head's axis, rows in one piece.

    For values of another width than the queries' torch's keeps the map of scores.
    """
    if query.shape[-1] != value.shape[-1]:
        return F.scaled_dot_product_attention(query, key, value, scale=scale)
    query, key, value = (tokens.unsqueeze(1).contiguous() for tokens in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, scale=scale).squeeze(1)
