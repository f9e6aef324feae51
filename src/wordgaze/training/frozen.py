"""The part of an encoder that does not learn."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from wordgaze.errors import ConfigError
from wordgaze.model.encoders.build import Encoder


class FrozenPart:
    """The first layers of ``encoder``, as many as ``freeze`` says: a number of them, ``none``, or ``all``.

    ``all`` is the whole encoder, its head included. Raises ConfigError for more layers than there are.
    """

    def __init__(self, encoder: Encoder, freeze: str | int) -> None:
        layers = len(encoder.layers())
        self.encoder = encoder
        self.is_whole = freeze == "all"
        self.count = layers if self.is_whole else 0 if freeze == "none" else int(freeze)
        if not 0 <= self.count <= layers:
            raise ConfigError(
                f"encoder.freeze is {freeze}, but this encoder has {layers} layers; "
                f"choose 0 to {layers}, or 'all' for all of it."
            )

    def __len__(self) -> int:
        """Return the number of frozen parts: layers, and one more for the head."""
        return self.count + self.is_whole

    def freeze(self) -> None:
        """Stop the part, and what comes before the first layer, from learning."""
        if not self:
            return
        self.encoder.requires_grad_(False)
        if not self.is_whole:
            for module in [*self.encoder.layers()[self.count :], *self.encoder.head_modules()]:
                module.requires_grad_(True)

    def eval(self) -> None:
        """Set the part to evaluation mode: no stochastic depth, no batch statistics."""
        for module in [self.encoder] if self.is_whole else self.encoder.layers()[: self.count]:
            module.eval()

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Return the part's output for ``pixel_values`` (B, 3, H, W); at least one layer is frozen."""
        if self.is_whole:
            return (self.encoder(pixel_values),)
        return self.encoder.forward_stem(pixel_values, self.count)

    def forward_rest(self, features: Sequence[Tensor]) -> Tensor:
        """Return the encoder's output (B, N, width) from what :meth:`forward` returned."""
        if self.is_whole:
            (patches,) = features
            return patches
        return self.encoder.forward_rest(features, self.count)

    def shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of what :meth:`forward` returns, without B."""
        if self.is_whole:
            down, across = self.encoder.grid
            return [(self.encoder.num_prefix + down * across, self.encoder.width)]
        return self.encoder.stem_shapes(self.count)
