"""Other people's checkpoints → models of ours: BLIP, and transformers' ``VisionEncoderDecoderModel``.

Read in this order: ``checkpoint`` (a folder's JSON and tensors), ``recipe`` (tensors of theirs → tensors of ours),
``vit``, ``bert``, ``gpt2`` (the parts that families share), ``blip``, ``vision_encoder_decoder`` (one file a family),
``tokenizer``, ``image_processor``, ``generation`` (what else is in the folder), ``convert`` (the whole), ``load`` (a
model's name → its parts, whoever's it is). transformers is not imported: safetensors and JSON are read as they are.
"""

# Before timm, which imports torchvision.
from wordgaze import compat as compat
