"""An encoder where no gradient is needed: what the plain one returns, to rounding, in about half its time on a CPU.

Training, and maps that follow gradients, run the plain encoder, as does each device but the CPU.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from timm.layers import GELU, Attention, BatchNormAct2d, Conv2dSame, Mlp, get_act_layer
from timm.layers.padding import pad_same
from timm.models import _efficientnet_blocks as efficientnet
from timm.models.efficientnet import EfficientNet, EfficientNetFeatures
from torch import Tensor, nn

from wordgaze.model.encoders.build import Encoder
from wordgaze.model.packed_linear import has_onednn
from wordgaze.model.sharing import copy_modules, versions

GROUP = 8
"""Photos that pass through the networks together: more of them have feature maps larger than a processor's cache."""

# In these, each convolution's batch norm is the child after it.
_BLOCKS = (
    EfficientNet,
    EfficientNetFeatures,
    efficientnet.ConvBnAct,
    efficientnet.DepthwiseSeparableConv,
    efficientnet.InvertedResidual,
    efficientnet.EdgeResidual,
)

# Activations that oneDNN computes while a convolution's result is in the registers: its name, and its scalars.
_FUSED_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.Identity: ("none", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    get_act_layer("silu"): ("swish", []),
    nn.SiLU: ("swish", []),
}

# As many weights make a linear layer large enough for oneDNN's operation, which takes longer to begin.
_LARGE = 1 << 15


class InferenceEncoder:
    """Run ``encoder`` for its states (B, N, width) alone.

    On a CPU :func:`inference_copy` runs, ``GROUP`` photos at a time. It is made anew when a weight has changed since
    (unless through ``.data``, which torch does not count).
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._copy: tuple[Any, Any] | None = None

    def __call__(self, pixel_values: Tensor) -> Tensor:
        """Return the states of ``pixel_values`` (B, 3, H, W)."""
        if torch.is_grad_enabled() or self.encoder.training or pixel_values.device.type != "cpu":
            return self.encoder(pixel_values)
        encoder = self.copy_for(_arithmetic_dtype(pixel_values))
        groups = pixel_values.tensor_split(-(-len(pixel_values) // GROUP)) if len(pixel_values) > GROUP else ()
        return torch.cat([encoder(group) for group in groups]) if groups else encoder(pixel_values)

    def copy_for(self, dtype: torch.dtype) -> Any:
        """Return the copy for arithmetic in ``dtype``, or the encoder itself where oneDNN can't compute in it."""
        if not _can_compute(dtype):
            return self.encoder
        key = (dtype, versions(self.encoder))
        # Read once: another thread may replace it.
        made = self._copy
        if made is None or made[0] != key:
            made = self._copy = (key, inference_copy(self.encoder, dtype))
        return made[1]


def inference_copy(network: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a copy of ``network`` that shares its weights, except in the convolutions of EfficientNets.

    Each of these, its batch norm with the statistics learned and its activation are one operation, in ``dtype``. The
    linear layers of a ViT's blocks are oneDNN's.
    """
    network = copy_modules(network)
    _fold_batch_norms(network, dtype)
    if dtype == torch.float32:
        _replace_linears(network)
    return network


def _fold_batch_norms(network: nn.Module, dtype: torch.dtype) -> None:
    for block in [module for module in network.modules() if isinstance(module, _BLOCKS)]:
        children = list(block.named_children())
        for (name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, BatchNormAct2d) and not isinstance(conv.padding, str):
                setattr(block, name, FoldedConv(conv, norm, dtype))
                setattr(block, norm_name, nn.Identity())


def _replace_linears(network: nn.Module) -> None:
    for part in [module for module in network.modules() if isinstance(module, Attention | Mlp)]:
        for name, layer in list(part.named_children()):
            if type(layer) is nn.Linear and layer.weight.numel() >= _LARGE:
                setattr(part, name, OneDnnLinear(layer))
        if isinstance(part, Mlp) and isinstance(part.fc1, OneDnnLinear) and _is_exact_gelu(part.act):
            part.fc1.activation, part.act = "gelu", nn.Identity()


def _is_exact_gelu(activation: nn.Module) -> bool:
    return type(activation) is GELU or (type(activation) is nn.GELU and activation.approximate == "none")


class FoldedConv(nn.Module):
    """A convolution, the batch norm after it, and the activation after that: one operation of oneDNN on the CPU."""

    weight: Tensor
    even_weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, norm: BatchNormAct2d, dtype: torch.dtype) -> None:
        super().__init__()
        # In double precision, so that folding itself rounds nothing.
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        bias = norm.bias.double() - norm.running_mean.double() * scale
        if conv.bias is not None:
            bias = bias + conv.bias.double() * scale
        weight = (conv.weight.double() * scale[:, None, None, None]).to(dtype)
        self.register_buffer("weight", weight.detach().contiguous(memory_format=torch.channels_last), persistent=False)
        self.register_buffer("bias", bias.detach().to(dtype), persistent=False)
        self.pads_by_size = isinstance(conv, Conv2dSame)
        # TensorFlow pads an even map one pixel less before than after. So does a kernel with a row and a column of
        # zeros before the others, and the map need not be copied.
        self.even_padding: list[int] | None = None
        odd_kernel = all(size % 2 for size in conv.kernel_size)
        if self.pads_by_size and odd_kernel and conv.stride == (2, 2) and conv.dilation == (1, 1):
            self.even_padding = [size // 2 for size in conv.kernel_size]
            even = nn.functional.pad(self.weight, (1, 0, 1, 0)).contiguous(memory_format=torch.channels_last)
            self.register_buffer("even_weight", even, persistent=False)
        self.kernel_size, self.groups = conv.kernel_size, conv.groups
        self.stride, self.dilation = list(conv.stride), list(conv.dilation)
        self.padding: list[int] = [int(size) for size in conv.padding]
        self.fused, self.scalars = _FUSED_ACTIVATIONS.get(type(norm.act), ("none", []))
        self.activation = nn.Identity() if type(norm.act) in _FUSED_ACTIVATIONS else norm.act

    def forward(self, feature_map: Tensor) -> Tensor:
        weight: Tensor = self.weight
        padding: Any = self.padding
        if self.even_padding is not None and not any(side % 2 for side in feature_map.shape[2:]):
            weight, padding = self.even_weight, self.even_padding
        elif self.pads_by_size:
            feature_map = pad_same(feature_map, self.kernel_size, self.stride, self.dilation)
        result = torch.ops.mkldnn._convolution_pointwise(
            feature_map.to(weight.dtype),
            weight,
            self.bias,
            padding,
            self.stride,
            self.dilation,
            self.groups,
            self.fused,
            self.scalars,
            "",
        )
        return self.activation(result)


class OneDnnLinear(nn.Module):
    """A linear layer, and perhaps a GELU after it, in float32: on some CPUs oneDNN is faster than torch's MKL."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.activation = "none"

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(tokens, self.weight, self.bias, self.activation, [], "none")


def _can_compute(dtype: torch.dtype) -> bool:
    """Return whether this torch has oneDNN's operations, for numbers of ``dtype``."""
    if not has_onednn():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _arithmetic_dtype(pixel_values: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else pixel_values.dtype
