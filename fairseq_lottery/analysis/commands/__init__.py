"""Commands that look inside models; each module is one command of ``fairseq-lottery``."""
