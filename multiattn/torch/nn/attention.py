import torch
import torch.nn.functional as F
from torch import Tensor

MANY_KEYS = 512


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None
) -> Tensor:
    """torch's over tokens (N, L, d) of one head, in its fast ways.

    It is fused over a head's axis, with rows in one piece. A CPU has nothing fused for values of
    another width than the queries', and is faster without it while there are few keys.
    """
    equal = query.shape[-1] == value.shape[-1]
    many = torch.compiler.is_compiling() or key.shape[1] >= MANY_KEYS
    if query.device.type == "cpu" and not (equal and many):
        if scale != 1:
            query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
        weights = (query @ key.mT).softmax(-1)
        # what were maps are in one piece with the tokens last; but that copies in the gradient
        return weights @ value if many else (value.mT @ weights.mT).mT
    if equal:
        query, key, value = (tokens.unsqueeze(1).contiguous() for tokens in (query, key, value))
        return F.scaled_dot_product_attention(query, key, value, scale=scale).squeeze(1)
    return F.scaled_dot_product_attention(query, key, value, scale=scale)
