"""Analyses of models of many languages, held against a table of facts about the languages.

Similarity of masks and of importance between languages, the drop of each language by pruned group
of layers, and the change of each group by fine-tuning. Nothing here trains a model.
"""
