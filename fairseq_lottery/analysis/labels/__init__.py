"""Label files: their formats, and how their words match those of a recording."""
