"""Generation: encoder states in, ids and their probabilities out."""
