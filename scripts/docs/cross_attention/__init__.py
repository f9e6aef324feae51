"""docs/cross-attention.md: cross-attention explained with the bundled model's own tensors."""
