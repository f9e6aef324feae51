"""A model in shares, one on each device (FSDP; Zhao et al. 2023): for those that do not fit one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from wordgaze.model.caption_model import CaptionModel
from wordgaze.training.module import CaptionModule


def sharding(devices: int) -> ModelParallelStrategy:
    """Return Lightning's strategy for as many devices; checkpoints are whole, as of one device."""
    return ModelParallelStrategy(data_parallel_size=devices, tensor_parallel_size=1, save_distributed_checkpoint=False)


class ShardedCaptionModule(CaptionModule):
    """Each device holds a share of each parameter; a layer's are gathered while it computes, the rest by ``encode``."""

    _is_sharded = False

    def configure_model(self) -> None:
        if self._is_sharded:  # Lightning asks again when it validates after a fit
            return
        self._is_sharded = True
        assert self.device_mesh is not None  # Lightning's strategy has set it
        mesh = self.device_mesh["data_parallel"]
        for layer in self.model.encoder.layers():
            fully_shard(layer, mesh=mesh)
        fully_shard(self.model, mesh=mesh)
        # Steps and searches begin here, and not with the model's forward.
        register_fsdp_forward_method(self.model, "encode")


def whole_model(model: CaptionModel, state: Mapping[str, Any]) -> CaptionModel:
    """Return a model as ``model`` was before it was sharded, with the weights of a checkpoint's ``state_dict``."""
    whole = CaptionModel(model.config)
    weights: dict[str, Tensor] = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    whole.load_state_dict(weights)
    return whole
