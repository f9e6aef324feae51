"""Comparisons, times, and what constants were chosen by."""
