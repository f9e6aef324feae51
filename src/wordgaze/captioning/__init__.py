"""From many photos to their captions."""
