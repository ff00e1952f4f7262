"""Models whose pruned heads and units are cut out."""
