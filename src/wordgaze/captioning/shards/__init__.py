"""Millions of photos, shard by shard, by any number of machines that share a folder.

``photo``, ``tars``, ``inputs`` (what is captioned) → ``rows`` (what becomes of a photo) → ``marker`` (a shard is
done) → ``out_folder`` → ``claims`` (who does it) → ``partial`` (rows so far) → ``run``. Needs no model and no torch.
"""
