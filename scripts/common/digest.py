"""Digests: equal ones mean equal contents."""

from __future__ import annotations

import hashlib


def hex_digest(*contents: bytes) -> str:
    """Return the SHA-256 of the contents, one after another, in hexadecimal digits."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()
