"""A model of a file in fairseq: building it, evaluating it, translating with it."""
