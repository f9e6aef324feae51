"""What the decoder need not compute twice: keys and values of past words and of the photo's patches."""

from __future__ import annotations

import torch
from torch import Tensor

KeyValue = tuple[Tensor, Tensor]


class DecoderCache:
    """Keys and values per layer: of the words so far, one row a caption (R); of the patches, one row a photo (B).

    The patches' are computed once per photo and shared by its C = R / B captions or beams, whatever their order.
    """

    def __init__(self, patches: list[KeyValue]) -> None:
        self.patches = patches  # per layer, each (B, heads, N, d)
        self._words: list[KeyValue | None] = [None] * len(patches)  # per layer, each (R, heads, S, d)

    def __len__(self) -> int:
        """Return the number of words so far, S."""
        return 0 if self._words[-1] is None else self._words[-1][0].shape[2]

    def append(self, layer: int, key: Tensor, value: Tensor) -> KeyValue:
        """Add the keys and values (R, heads, T, d) of new words; return those of all words so far."""
        past = self._words[layer]
        if past is not None:
            key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        self._words[layer] = (key, value)
        return key, value

    def reorder(self, rows: Tensor) -> None:
        """Let row i be what row ``rows[i]`` was; beams move within their photo, so the patches stay as they are."""
        self._words = [past and (past[0][rows], past[1][rows]) for past in self._words]

    def keep_photos(self, photos: Tensor, rows: Tensor) -> None:
        """Drop finished photos: those at ``photos`` and their captions at ``rows`` stay, in that order."""
        self.patches = [(key[photos], value[photos]) for key, value in self.patches]
        self.reorder(rows)
