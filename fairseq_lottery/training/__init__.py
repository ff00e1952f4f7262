"""A training under a mask: start, resume, step, snapshots."""
