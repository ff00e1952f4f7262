"""Looking inside sparse models: representations, attention, probes, roles of heads, weights.

An extension. ``record`` runs a model on a corpus and writes a ``Recording``; measures read
recordings or files of models, and yield rows of a tidy table. A measure is a function with the
decorator ``measure``.
"""

from fairseq_lottery.lazy_names import lazy_names

#: module -> its public names
_NAMES = {
    "complexity.model_complexity": ("measure_complexity",),
    "complexity.spectrum": ("effective_rank", "explained_variance", "singular_values"),
    "model_file": ("ModelFile",),
    "probing.groups": ("relative_scores",),
    "probing.probe": ("ProbeSettings", "probe"),
    "probing.session": ("LabelSource", "ProbeSession"),
    "recording.corpus": ("Corpus", "read_corpus"),
    "recording.recorder": ("record",),
    "recording.recording": ("Recording",),
    "registry": ("Measure", "find_measure", "measure", "registered_measures"),
    "report.figure_files": ("plot",),
    "report.sweep_rows": ("read_table",),
    "results": ("Results",),
    "roles.sieve_keys": ("local_keys",),
    "roles.sieve_scores": ("sentence_scores", "visible_keys"),
    "similarity.alignment": ("debiased_cka", "linear_cka"),
    "similarity.canonical": ("canonical",),
    "similarity.compare": ("compare_models",),
    "similarity.moments": ("LayerPair",),
    "similarity.neurons": ("mixed_sim", "neuron_sim"),
    "weights.early_bird": ("all_distances", "draw_along"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = list(_MODULES)

__getattr__ = lazy_names(__name__, _MODULES)
