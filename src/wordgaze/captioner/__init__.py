"""The three-line API: :class:`~wordgaze.captioner.captioner.Captioner`, and the libraries that run its model.

Read in this order: ``backend`` (what is asked of a library), ``torch_backend``, ``onnx_backend``, ``captioner``.
"""

from wordgaze.captioner.captioner import (
    BATCH_SIZE,
    Caption,
    Captioner,
    CaptionWord,
    ExplainedWord,
    Explanation,
)

__all__ = ["BATCH_SIZE", "Caption", "CaptionWord", "Captioner", "ExplainedWord", "Explanation"]
