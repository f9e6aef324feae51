"""What the commands do, as functions: the wiring, no printing of results."""
