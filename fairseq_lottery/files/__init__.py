"""Read and write files safely: atomically, within limits, without running code."""

from fairseq_lottery.files.archives import model_file
from fairseq_lottery.files.atomic import (
    alone_in,
    is_plain,
    locked,
    read_bytes,
    read_lines,
    read_text,
    refuse_missing,
    refuse_target,
    replacing,
    sha256_of,
    writing_in,
)
