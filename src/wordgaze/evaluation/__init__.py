"""Captions and references in, scores out.

`score` brings together the tokenizer (`ptb`) and the metrics (`bleu`, `rouge`, `cider`), all equal to
pycocoevalcap's and without Java, and those that need Java (`external`). `metric` says what a metric hands over,
`bootstrap` how far it could have come out otherwise, `chair` what captions name that is not there. Nothing here knows
models or photos: captions, references, boxes and ids are plain values.
"""
