"""What can be pruned as a whole, the choice of it, and its file."""
