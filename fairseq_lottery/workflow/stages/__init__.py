"""Code that stages run in the training's environment: select, score, record, clean up."""
