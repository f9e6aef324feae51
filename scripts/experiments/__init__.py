"""Comparisons, times, and what constants were chosen by."""

# Before Lightning and transformers, which import torchvision.
from wordgaze import compat as compat
