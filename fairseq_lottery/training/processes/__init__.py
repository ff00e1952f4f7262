"""Processes of one training: agreement between them, data workers, signals."""
