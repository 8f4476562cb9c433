"""Model formats: what is refused, how a model is loaded in a child, how rows are read and scored."""
