"""`logit_bias`: which tokens a request makes likelier or less likely, by their numbers."""

from inference.errors import InvalidRequest
from inference.types import ChatRequest


def bias_of(request: ChatRequest, tokens: int) -> dict[int, float]:
    """The bias of each token; InvalidRequest for one that is none of the model's `tokens`."""
    bias = {}
    for name, value in request.logit_bias.items():
        if not name.isdecimal() or int(name) >= tokens:
            raise InvalidRequest(
                f"logit_bias names the token '{name}', but this model's tokens are the numbers 0 "
                f"to {tokens - 1}.",
                param="logit_bias",
            )
        bias[int(name)] = float(value)
    return bias
