"""Captions in a pipeline of Ray Data: rows in, the same number of rows out, a status instead of an exception.

    rows = ray.data.read_binary_files(folder, include_paths=True)
    rows = rows.map_batches(CaptionBatch, compute=ActorPoolStrategy(size=8), num_gpus=1, batch_size=64)

Importing this needs neither Ray nor torch.
"""

from wordgaze.ray_data.caption_batch import CaptionBatch

__all__ = ["CaptionBatch"]
