"""Attention heads and FFN units: measuring which matter, choosing and pruning them.

An extension: the rooms below load it only where a file or an option names it. ``Anatomy`` says
which parts a Transformer has, ``Parts`` which of them are open. Gates act on a loaded model, for
measuring; a closed part in a ticket is plain zeros under a mask.
"""

from typing import TYPE_CHECKING

from fairseq_lottery.lazy_names import lazy_names

if TYPE_CHECKING:
    from fairseq_lottery.heads.choices.stability import Agreement, agreement
    from fairseq_lottery.heads.choices.strategies import STRATEGIES
    from fairseq_lottery.heads.choices.strategy_input import StrategyInput
    from fairseq_lottery.heads.components.anatomy import (
        ATTENTIONS,
        FFNS,
        KINDS,
        Anatomy,
        layer_of,
        type_of,
    )
    from fairseq_lottery.heads.components.parts import MODES, Parts
    from fairseq_lottery.heads.components.parts_file import load_parts, save_parts
    from fairseq_lottery.heads.components.pruned_weights import (
        clear_biases,
        closed_in,
        pruned_by,
        restrict,
    )
    from fairseq_lottery.heads.gates.gates import Gates
    from fairseq_lottery.heads.measures.importance import importance, normalised
    from fairseq_lottery.heads.measures.measures import (
        MEASURES,
        MeasureInput,
        find_measure,
        measure,
    )
    from fairseq_lottery.heads.measures.rank_agreement import RankAgreement, rank_agreement
    from fairseq_lottery.heads.searches.search import m_pruning, s_pruning, stepwise
    from fairseq_lottery.heads.searches.search_steps import Step, survivors
    from fairseq_lottery.heads.searches.subnetworks import subnetworks

__all__ = [
    "ATTENTIONS",
    "Agreement",
    "Anatomy",
    "FFNS",
    "Gates",
    "KINDS",
    "MEASURES",
    "MODES",
    "MeasureInput",
    "Parts",
    "RankAgreement",
    "STRATEGIES",
    "Step",
    "StrategyInput",
    "agreement",
    "clear_biases",
    "closed_in",
    "find_measure",
    "importance",
    "layer_of",
    "load_parts",
    "m_pruning",
    "measure",
    "normalised",
    "pruned_by",
    "rank_agreement",
    "restrict",
    "s_pruning",
    "save_parts",
    "stepwise",
    "subnetworks",
    "survivors",
    "type_of",
]

_MODULES = {
    "ATTENTIONS": "components.anatomy",
    "Agreement": "choices.stability",
    "Anatomy": "components.anatomy",
    "FFNS": "components.anatomy",
    "Gates": "gates.gates",
    "KINDS": "components.anatomy",
    "MEASURES": "measures.measures",
    "MODES": "components.parts",
    "MeasureInput": "measures.measures",
    "Parts": "components.parts",
    "RankAgreement": "measures.rank_agreement",
    "STRATEGIES": "choices.strategies",
    "Step": "searches.search_steps",
    "StrategyInput": "choices.strategy_input",
    "agreement": "choices.stability",
    "clear_biases": "components.pruned_weights",
    "closed_in": "components.pruned_weights",
    "find_measure": "measures.measures",
    "importance": "measures.importance",
    "layer_of": "components.anatomy",
    "load_parts": "components.parts_file",
    "m_pruning": "searches.search",
    "measure": "measures.measures",
    "normalised": "measures.importance",
    "pruned_by": "components.pruned_weights",
    "rank_agreement": "measures.rank_agreement",
    "restrict": "components.pruned_weights",
    "s_pruning": "searches.search",
    "save_parts": "components.parts_file",
    "stepwise": "searches.search",
    "subnetworks": "searches.subnetworks",
    "survivors": "searches.search_steps",
    "type_of": "components.anatomy",
}

__getattr__ = lazy_names(__name__, _MODULES)
