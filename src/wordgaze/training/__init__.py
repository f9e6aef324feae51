"""Training: what Lightning needs to teach a model captions."""
