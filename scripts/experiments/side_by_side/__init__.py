"""Three captioners with one budget: is our design worth it?

    python -m scripts.experiments.side_by_side ours|hugging_face|lstm      # an arm, 40 minutes each; one at a time
    python -m scripts.experiments.side_by_side table                       # what the README shows of their results

``ours`` is what ``wordgaze train`` makes of the config; ``hugging_face`` a ``VisionEncoderDecoderModel`` with a GPT-2
of the same sizes; ``lstm`` Show, Attend and Tell (Xu et al. 2015) with soft attention, of as many parameters.

The same for all: Flickr8k's 6,000 training photos and their captions, and no other text; the pretrained encoder, which
all three fine-tune; input size, crop and random views; the tokenizer, trained on these captions; photos in a batch;
arithmetic; minutes of training by the clock, loading of photos included, with a cosine that ends with them; the
weights that are there at the end; beam search with the config's limits, in float32; validation photos, references and
scorer. Results are put beside each other only where all that is equal (``same`` of a result).

An arm's own: what its authors or its documentation train it with (``settings`` of a result). Ours encodes a photo once
for several captions; the others, as is their custom, once for each.

The minutes count steps and checkpoints. Before them comes the measurement of a step, by which the number of steps is
set, and after them the captioning and scoring of the validation photos; neither counts. An arm that was stopped
resumes with the same command from its last checkpoint, and so does its clock.
"""
