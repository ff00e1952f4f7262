"""Gates on heads and FFN units: fixed gates for measuring, and learned gates."""
