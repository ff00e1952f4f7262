"""Strategies that choose which components are pruned, and the agreement of choices."""
