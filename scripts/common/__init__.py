"""What several scripts need: arguments, digests, Markdown, templates, times."""
