"""Trainings in this process, which a module's own fixture ``train`` starts."""

import pytest


@pytest.fixture
def trained(toy_data, tmp_path):
    """Train in a folder up to an update, and save; each call is a start of the command.

    With ``watch``, everything that must hold is checked after every update.
    """

    def train(*flags, to, updates, folder="run", watch=False, **given):
        from matrix.training import Training, configuration, in_this_process

        cfg = configuration(toy_data, tmp_path / folder, "--max-update", updates, *flags, **given)
        with in_this_process():
            training = Training(cfg)
            training.watch = training.watch if watch else None
            return training.run(to).save() if training.update < to else training

    return train


@pytest.fixture
def refused(train, capsys):
    """Expect a training to be refused in one sentence, which contains a text."""

    def refused(sentence, *flags, **given):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            train(*flags, **given)
        printed = [x for x in capsys.readouterr().err.splitlines() if x.startswith("fairseq-lott")]
        assert stopped.value.code == 2
        assert len(printed) == 1 and sentence in printed[0], printed

    return refused
