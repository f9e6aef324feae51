"""What is wrong with a set of captioned photos, before an hour of training is spent on it."""
