import json
from dataclasses import asdict

import pytest
from hostile import configurations, watch
from hostile.damage import written

pytest.importorskip("yaml")


def read(path):
    """Everything that -n makes of a configuration; the folder that it lies in is left out."""
    from fairseq_lottery.workflow.command_lines.plan_stages import make_stages
    from fairseq_lottery.workflow.planning.plan import make_plan
    from fairseq_lottery.workflow.reading.configuration_reader import read_configuration

    stages = make_stages(make_plan(read_configuration(path)))
    text = json.dumps([asdict(stage) for stage in stages], allow_nan=False)
    return text.replace(str(path.parent), "")


def test_every_bad_configuration_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "good").mkdir()
    good = read(written(configurations.TEXT.encode(), configurations.NAME)(tmp_path / "good"))
    outcomes = watch.run(read, configurations.all_of(), tmp_path, good)
    watch.judged("configuration", outcomes, least=250)
