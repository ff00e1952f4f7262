"""A full model that is trained as often as a ticket of several rounds, as a control of IMP."""

from fairseq_lottery.workflow.trainings.techniques import technique


@technique("longer", "full model, longer", has_dense_row=True)
def longer(v, times=3):
    """Fine-tune the pre-trained weights for ``times`` as many updates, on one schedule."""
    updates = times * v.dense.updates
    flags = v.dense.flags.plus("--total-num-update", updates)
    yield 0.0, v.train(v.dense.ticket, flags, updates)
