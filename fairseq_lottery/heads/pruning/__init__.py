"""Pruning of components in drawn tickets and in trained models."""
