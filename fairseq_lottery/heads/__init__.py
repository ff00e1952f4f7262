"""Attention heads and FFN units: measuring which matter, choosing and pruning them.

An extension: the rooms below load it only where a file or an option names it. ``Anatomy`` lists the
components of a Transformer, ``ComponentMask`` says which of them are kept. Gates act on a loaded
model, for measuring; a pruned component in a ticket is zeros under a mask.
"""

from fairseq_lottery.lazy_names import lazy_names

#: module -> its public names
_NAMES = {
    "choices.kept_counts": ("keep_counts",),
    "choices.stability": ("Agreement", "agreement"),
    "choices.strategies": ("STRATEGIES",),
    "choices.strategy_input": ("StrategyInput",),
    "choices.survivors": ("combine",),
    "components.anatomy": ("ATTENTIONS", "FFNS", "KINDS", "Anatomy", "layer_of", "type_of"),
    "components.component_mask": ("MODES", "ComponentMask"),
    "components.choice_file": ("load_choice", "save_choice"),
    "components.pruned_weights": ("clear_biases", "find_pruned", "weight_masks", "restrict"),
    "gates.gates": ("Gates",),
    "measures.importance": ("importance", "normalised"),
    "measures.importance_steps": ("agreement_by_step", "evolution"),
    "measures.measures": ("MEASURES", "MeasureInput", "find_measure", "measure"),
    "measures.rank_agreement": ("RankAgreement", "rank_agreement"),
    "searches.importance_file": ("StepImportance", "load_importance_steps"),
    "searches.search": ("Step", "m_pruning", "s_pruning", "stepwise", "survivors"),
    "searches.subnetworks": ("subnetworks",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = list(_MODULES)

__getattr__ = lazy_names(__name__, _MODULES)
