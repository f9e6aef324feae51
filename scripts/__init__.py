"""Makes the bundled model and the documents, and holds experiments; what users need is a command.

Each runs from the repository's root: ``python -m scripts.bundled.measure``.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
"""Photos, captions and boxes beside the checkout."""
