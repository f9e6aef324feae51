"""The encoders: a photo's pixels → its patches, which the words look at.

``vit``: any timm ViT. ``hybrid``: any timm network's feature map, with ViT blocks on top. ``fused``: a ViT and a second
network. ``build``: the one that a config describes. All have ``width``, ``grid`` (H_p, W_p), ``num_prefix``, the timm
``network`` that the grid comes from, and what freezing needs: ``layers``, ``head_modules``, ``forward_stem``,
``forward_rest`` and ``stem_shapes``.
"""

# Before timm, which imports torchvision.
from wordgaze import compat as compat
