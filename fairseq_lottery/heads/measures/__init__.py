"""How important heads, FFN units and FFN blocks are."""
