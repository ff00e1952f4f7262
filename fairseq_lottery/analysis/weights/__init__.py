"""Computations on weights and masks: changes, overlap against chance, dead neurons, paths."""
