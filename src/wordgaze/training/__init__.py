"""Training: what Lightning needs to teach a model captions."""

# Before timm and Lightning, which import torchvision.
from wordgaze import compat as compat
