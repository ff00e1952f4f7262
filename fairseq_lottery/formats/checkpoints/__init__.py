"""Load untrusted checkpoints of fairseq safely, and validate their content."""
