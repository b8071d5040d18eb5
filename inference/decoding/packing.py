"""Linear layers whose weights lie as oneDNN wants them, for the CPU.

PyTorch hands oneDNN plain weights, which are rearranged in every call. Done once, a layer of
SmolLM2's size took two thirds of the time for few rows, and four fifths for 32 (bfloat16, on an
EPYC with AVX512-BF16).
"""

import torch

# oneDNN may arrange weights by the rows that it expects; this suits one row and many.
ROWS = 32


class Packed(torch.nn.Module):
    """A linear layer with arranged weights; the plain ones are freed if nobody else has them."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self.bias = linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(inputs, self.packed, self.bias, "none", [], "")


def pack(model: torch.nn.Module) -> None:
    """Arrange the weights of all linear layers, where this PyTorch can."""
    if not (
        torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    ):
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear:
                setattr(parent, name, Packed(child))
