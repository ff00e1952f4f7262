import pytest
from workflow.made import MASKED, TRAIN, Work, configure

from fairseq_lottery.workflow.planning.cost import estimate
from fairseq_lottery.workflow.planning.model_size import count_parameters
from fairseq_lottery.workflow.planning.show import lines


@pytest.fixture
def data(tmp_path):
    """Two dictionaries of 1,000 symbols."""
    (tmp_path / "data-bin").mkdir()
    for language in ("en", "de"):
        symbols = "".join(f"w{number} 1\n" for number in range(1000))
        (tmp_path / "data-bin" / f"dict.{language}.txt").write_text(symbols)
    return tmp_path


@pytest.mark.parametrize(
    "flags, parameters",
    [
        # counted in the models that fairseq builds
        ("--arch transformer --share-all-embeddings", 44_652_544),
        ("--arch transformer_iwslt_de_en --share-decoder-input-output-embed", 32_571_392),
        ("--arch transformer_wmt_en_de_big", 179_441_664),
        ("--arch transformer_tiny -s en -t de", 327_168),
        ("--arch transformer --encoder-layers 2 --decoder-layers 1 --encoder-embed-dim 64"
         " --decoder-embed-dim 32 --encoder-ffn-embed-dim 128", 214_496),
    ],
)  # fmt: skip
def test_parameters_of_flags(data, flags, parameters):
    train = TRAIN.replace("--arch transformer", flags)
    assert count_parameters(configure(data, train=train)) == parameters


def test_what_flags_do_not_tell(data):
    for train in (TRAIN.replace("transformer", "lstm"), TRAIN.replace("--arch transformer", "")):
        assert count_parameters(configure(data, train=train)) is None
    assert count_parameters(configure(data, **MASKED)) is None
    assert count_parameters(configure(data, train=f"{TRAIN} -s en -t fr")) is None
    (data / "data-bin" / "dict.de.txt").unlink()
    assert count_parameters(configure(data)) is None


def test_a_plan_says_the_disk_before_anything_is_measured(data):
    work = Work(data, "slt", sparsities=[0.5])
    cost = estimate(work.configuration, work.stages, work.work, 1)
    told = lines(work.plan, work.work, cost, 1)
    megabytes = count_parameters(work.configuration) / 1e6
    assert told[2] == f"disk: at most {42 * megabytes / 1000:.2f} GB more, " \
                      f"{8 * megabytes / 1000:.2f} GB more at the end"  # fmt: skip
    assert told[3].startswith("time: unknown; give --calibrate, which trains 200 updates")
