"""Heads and FFN units: which of them matter, closing them, and what that leaves.

``Anatomy`` says which parts a Transformer has, ``Parts`` which of them are open. Gates act on a
live model, for measuring; a closed part in a ticket is plain zeros under a mask.
"""

from fairseq_lottery.structured.anatomy import ATTENTIONS, FFNS, KINDS, Anatomy, layer_of, type_of
from fairseq_lottery.structured.choosing import StrategyInput
from fairseq_lottery.structured.file import load_parts, save_parts
from fairseq_lottery.structured.gates import Gates
from fairseq_lottery.structured.importance import importance, normalised
from fairseq_lottery.structured.measures import MEASURES, MeasureInput, find_measure, measure
from fairseq_lottery.structured.parts import MODES, Parts
from fairseq_lottery.structured.rank_agreement import RankAgreement, rank_agreement
from fairseq_lottery.structured.search import m_pruning, s_pruning, stepwise
from fairseq_lottery.structured.stability import Agreement, agreement
from fairseq_lottery.structured.steps import Step, survivors
from fairseq_lottery.structured.strategies import STRATEGIES
from fairseq_lottery.structured.subnetworks import subnetworks
from fairseq_lottery.structured.weights import clear_biases, closed_in, pruned_by, restrict

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
