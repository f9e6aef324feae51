"""From finished captions to a map for each word, and to pictures and pages of them."""
