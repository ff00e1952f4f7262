"""Read workflow folders: records, plans, masks, published figures."""
