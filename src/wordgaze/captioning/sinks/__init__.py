"""Where captions of many photos go: rows of a file, sidecars of text, the photos' metadata."""
