"""Pages, tables and pictures of the documents, made by code."""
