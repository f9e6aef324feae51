"""Finished captions → one map per word → pictures."""
