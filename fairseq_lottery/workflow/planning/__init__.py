"""From a configuration to trainings, to stages, to what is left to do and what it costs."""
