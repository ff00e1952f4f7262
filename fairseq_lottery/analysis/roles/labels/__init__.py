"""Read what sieves need beside a recording: parses, alignments, boundaries, frequencies."""
