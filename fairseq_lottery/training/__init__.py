"""Training under a mask: start, resumption, pruning steps, snapshots."""
