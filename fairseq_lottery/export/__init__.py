"""Export of models: plain checkpoints, compact files, CTranslate2 folders."""
