"""Models in other forms: plain checkpoints, compact files, CTranslate2."""
