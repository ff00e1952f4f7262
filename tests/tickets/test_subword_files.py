import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.tickets.pack.subword_files import refuse_other_kind

MODEL = b"\n\x06pieces\n\x04more\x12\x00\x1a\x82\x01" + b"n" * 130
CODE = b"import os\nos = 1\n"


@pytest.mark.parametrize(
    "name, content",
    [
        ("spm.model", MODEL),
        ("spm.vocab", b"<unk>\t0\n\xe2\x96\x81the\t-3.14\na b\t-1e-05\n"),
        ("codes", b"#version: 0.2\ne n</w>\nt h\n"),
        ("bpe.codes", b"e n\r\nt h\r\n"),
        ("codes.32000", b"e n 5312\nt h 99\n"),  # of fastBPE, with counts
        ("codes.32k", b"e n\n"),
        ("ende.bpe", b"e n"),
        ("dict.en.txt", b"the 12\n<unk> 1 #fairseq:overwrite\n"),
    ],
)
def test_the_files_of_subword_tools_are_taken(name, content):
    refuse_other_kind(name, content)


@pytest.mark.parametrize(
    "name, content",
    [
        ("score.py", CODE), ("score.so", CODE), ("score.pyc", MODEL), ("x.pth", CODE),
        ("__init__.py", b"e n\n"), ("score.cpython-311.so", MODEL), ("run.sh", b"e n\n"),
        ("spm.model", b""), ("spm.model", CODE), ("spm.model", MODEL[:-1]),
        ("spm.model", MODEL + b"x"), ("spm.model", b"\n\xff\xff\xff\xff\xff\xff"),
        ("spm.model", b"PK\x03\x04"), ("spm.model", b"\x80\x02}q."), ("spm.vocab", b"one word\n"),
        ("codes", b"one\n"), ("codes", b"a line of code\n"), ("codes", b"\xff\xfe"),
        ("codes", b"\n"), ("codes", b"e n\n#version: 0.2 x y\n"),
        ("conftest", b"import\n"), ("x.MODEL", MODEL),
    ],
)  # fmt: skip
def test_a_file_of_any_other_kind_is_refused(name, content):
    with pytest.raises(LotteryError, match=f"^{name} is not a subword file; give sentencepiece's"):
        refuse_other_kind(name, content)


def test_a_model_of_sentencepiece_is_one(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "text").write_text("the cat sat on the mat\n" * 30 + "a dog ran to the man\n" * 30)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"), model_prefix=str(tmp_path / "spm"), vocab_size=25,
        model_type="bpe", minloglevel=2,
    )  # fmt: skip
    for name in ("spm.model", "spm.vocab"):
        refuse_other_kind(name, (tmp_path / name).read_bytes())
