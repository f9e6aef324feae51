import torch
from pytest import fixture


@fixture
def pixels():
    torch.manual_seed(0)
    return torch.randn(2, 3, 160, 160)
