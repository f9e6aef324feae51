"""Captions ⇄ ids."""
