"""Plan the trainings and stages of a configuration, the pending ones, and their cost."""
