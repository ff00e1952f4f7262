import sys
from pathlib import Path

import pytest
from workflow.made import plan_of

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.command_lines.plan_stages import make_stages
from fairseq_lottery.workflow.command_lines.train_env import (
    in_environment,
    interpreter,
    translation_flags,
)

FAIRSEQ = f"{sys.executable} -m fairseq_lottery.launch"


def starts(folder, executor="local", **resources):
    plan = plan_of(folder, "mp", sparsities=[0.9], resources=resources)
    command = make_stages(plan, executor)[0].command
    return " ".join(command[: command.index(str(folder / "data-bin"))]), command


def test_several_processes(tmp_path):
    here = sys.executable
    assert starts(tmp_path, gpus=1)[0] == FAIRSEQ
    one, command = starts(tmp_path, gpus=0, processes=2)
    assert one == (
        f"{here} -m torch.distributed.run --standalone --nproc_per_node 2 -m fairseq_lottery.launch"
    )
    assert command[-1] == "--cpu"
    several, command = starts(tmp_path, "slurm", gpus=4, nodes=2)
    assert several == f"srun --nodes=2 --ntasks=8 --kill-on-bad-exit=1 --cpus-per-task=1 {FAIRSEQ}"
    assert "--cpu" not in command
    threads = starts(tmp_path, "slurm", gpus=2, threads=6)[0]
    assert threads.startswith("srun --nodes=1 --ntasks=2 --kill-on-bad-exit=1 --cpus-per-task=6 ")


def test_several_nodes_without_slurm(tmp_path):
    message = r"small.yaml, line 8: resources.nodes is 2; "
    with pytest.raises(LotteryError, match=message):
        starts(tmp_path, gpus=4, nodes=2)


def test_an_environment_as_a_file(tmp_path):
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    plan = plan_of(tmp_path, train_env="env/bin/python")
    assert interpreter(plan.configuration) == str(python)
    assert in_environment(plan.configuration, ["true"]) == "exec true"
    assert {stage.command[0] for stage in make_stages(plan)} == {str(python)}


def test_an_environment_as_lines_of_a_shell(tmp_path):
    plan = plan_of(tmp_path, train_env="module load cuda\nsource env/bin/activate\n")
    assert interpreter(plan.configuration) == "python"
    line = in_environment(plan.configuration, ["true"])
    assert line == "set -e +u\nmodule load cuda\nsource env/bin/activate\nexec true"
    one = plan_of(tmp_path, train_env="source env/bin/activate")
    assert interpreter(one.configuration) == "python"
    line = in_environment(one.configuration, ["true"])
    assert line == "set -e +u\nsource env/bin/activate\nexec true"


@pytest.mark.parametrize("env", ["env/bin/python", "python3", "~/none/bin/python"])
def test_an_environment_that_is_not_there(tmp_path, env):
    path = tmp_path / Path(env).expanduser()
    with pytest.raises(LotteryError) as refusal:
        make_stages(plan_of(tmp_path, train_env=env))
    start = f"{tmp_path}/small.yaml, line 8: train_env: there is no Python {path};"
    assert str(refusal.value).startswith(start)


def test_the_environment_of_this_process(tmp_path):
    plan = plan_of(tmp_path)
    assert interpreter(plan.configuration) == sys.executable
    assert in_environment(plan.configuration, ["true"]) == "exec true"


@pytest.mark.parametrize(
    "gpus, flags, expected",
    [
        (0, "--max-tokens 900", ["--cpu", "--sparse-decode"]),
        (0, "--sparse-decode", ["--cpu"]),
        (0, "--fp16", ["--cpu"]),
        (1, "--max-tokens 900", []),
    ],
)
def test_translations_on_a_cpu_run_in_compiled_code(tmp_path, gpus, flags, expected):
    plan = plan_of(tmp_path, "mp", sparsities=[0.9], resources={"gpus": gpus}, generate=flags)
    words = translation_flags(plan.configuration)
    assert words == [*flags.split(), *expected]
    for stage in make_stages(plan):
        if stage.kind == "generate":
            used = [word for word in stage.command if word in ("--cpu", "--sparse-decode")]
            assert sorted(used) == sorted(set(words) & {"--cpu", "--sparse-decode"})
