"""The tables and pictures of docs/performance.md."""
