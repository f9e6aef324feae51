"""Captions and ids."""
