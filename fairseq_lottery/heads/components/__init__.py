"""Components of a model, masks over them, and choice files."""
