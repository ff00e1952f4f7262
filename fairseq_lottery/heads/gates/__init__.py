"""Gates on heads and FFN units: fixed ones for measuring, and learned ones."""
