"""Attention heads and FFN units: measuring which matter, choosing and pruning them.

An extension: the rooms below load it only where a file or an option names it. ``Anatomy`` says
which parts a Transformer has, ``Parts`` which of them are open. Gates act on a loaded model, for
measuring; a closed part in a ticket is plain zeros under a mask.
"""

from fairseq_lottery.lazy_names import lazy_names

#: module -> its public names
_NAMES = {
    "choices.stability": ("Agreement", "agreement"),
    "choices.strategies": ("STRATEGIES",),
    "choices.strategy_input": ("StrategyInput",),
    "components.anatomy": ("ATTENTIONS", "FFNS", "KINDS", "Anatomy", "layer_of", "type_of"),
    "components.parts": ("MODES", "Parts"),
    "components.parts_file": ("load_parts", "save_parts"),
    "components.pruned_weights": ("clear_biases", "closed_in", "pruned_by", "restrict"),
    "gates.gates": ("Gates",),
    "measures.importance": ("importance", "normalised"),
    "measures.measures": ("MEASURES", "MeasureInput", "find_measure", "measure"),
    "measures.rank_agreement": ("RankAgreement", "rank_agreement"),
    "searches.search": ("Step", "m_pruning", "s_pruning", "stepwise", "survivors"),
    "searches.subnetworks": ("subnetworks",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = list(_MODULES)

__getattr__ = lazy_names(__name__, _MODULES)
