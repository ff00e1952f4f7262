"""Searches for the smallest model that keeps a share of the metric."""
