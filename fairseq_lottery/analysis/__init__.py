"""Looking inside sparse models: representations, attention, probes, roles of heads, weights.

An extension. ``record`` runs a model on a corpus and writes a ``Recording``; measures read
recordings or files of models, and yield rows of a tidy table. A measure is a function with the
decorator ``measure``.
"""

from fairseq_lottery.lazy_names import lazy_names

#: module -> its public names
_NAMES = {
    "registry": ("Measure", "find_measure", "measure", "registered_measures"),
    "model_file": ("ModelFile",),
    "recording.corpus": ("Corpus", "read_corpus"),
    "recording.recorder": ("record",),
    "recording.recording": ("Recording",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = list(_MODULES)

__getattr__ = lazy_names(__name__, _MODULES)
