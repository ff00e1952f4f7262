"""What a stage runs, in the training's own environment: judge, record, choose, score, clean."""
