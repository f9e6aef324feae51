import torch
from pytest import fixture


@fixture
def pixels():
    """Return two images of noise, (B, C, H, W)."""
    torch.manual_seed(0)
    return torch.randn(2, 3, 160, 160)
