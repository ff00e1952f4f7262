"""Checkpoints of fairseq that anybody may have made: the safe loader, and what they hold."""
