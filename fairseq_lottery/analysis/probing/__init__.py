"""Probes: how well linear models predict labels of words and pairs from frozen layers."""
