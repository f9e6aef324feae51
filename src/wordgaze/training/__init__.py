"""Training: what Lightning needs to teach a model captions."""

from wordgaze import compat  # noqa: F401  (before timm and Lightning: they import torchvision)
