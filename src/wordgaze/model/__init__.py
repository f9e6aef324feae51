"""The model: pixels → patches → logits. It knows ids and masks, no text.

Read in this order: ``attention``, ``cache``, ``encoders/vit``, ``decoder``, ``caption_model``.
"""
