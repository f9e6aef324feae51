"""Captions and references in, scores out.

`score` brings together the tokenizer (`ptb`) and the metrics (`bleu`, `rouge`, `cider`), all equal to
pycocoevalcap's and without Java. Nothing here knows models or photos: captions, references and ids are plain values.
"""
