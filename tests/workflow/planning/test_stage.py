import json

from workflow.made import Work

from fairseq_lottery.workflow.planning.stage import Stage


def test_a_stage_as_json(tmp_path):
    work = Work(tmp_path, "slt", {"slt-mp": {"switch": [0.5]}}, sparsities=[0.5, 0.9])
    assert len(work.stages) > 10
    for stage in work.stages:
        assert Stage.from_json(json.loads(json.dumps(stage.to_json()))) == stage
