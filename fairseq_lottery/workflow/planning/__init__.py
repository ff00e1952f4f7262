"""Distinct trainings of a configuration, its pending stages, and their cost."""
