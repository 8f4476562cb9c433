"""How well a version does, by the labels that came or as far as can be told without."""
