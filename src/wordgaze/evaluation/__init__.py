"""Captions and references in, scores out.

``score`` joins the tokenizer (``ptb``), the metrics that equal pycocoevalcap's without Java (``bleu``, ``rouge``,
``cider``), and those that need Java (``external``). ``metric`` is what a metric returns, ``bootstrap`` its intervals,
``chair`` the objects that captions name and photos lack. Nothing here knows models or photos: captions, references,
boxes and ids are plain values.
"""
