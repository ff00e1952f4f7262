"""Compute measures along a sweep: technique x sparsity x seed of run folders."""
