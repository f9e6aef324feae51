"""Alt text in a photo's own metadata: XMP inside the file, or in a sidecar beside it.

``splice`` (what of a file is replaced) → ``packet`` (XML whose elements know their bytes) → ``merge`` (alt text into a
packet) → ``jpeg`` with ``extended``, ``png``, ``webp`` (where a packet lies) → ``write`` (the file itself).
"""
