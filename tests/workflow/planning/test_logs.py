from fairseq_lottery.workflow.planning.logs import last_saved, tail

SAVED = "x | INFO | Saved checkpoint runs/checkpoint_last.pt (epoch 2 @ {} updates, score None)\n"


def test_the_last_checkpoint_that_was_saved(tmp_path):
    log = tmp_path / "train.log"
    assert last_saved(log) == 0
    log.write_text("x | INFO | begin\n" + SAVED.format(20))
    assert last_saved(log) == 20
    log.write_text(SAVED.format(20) + SAVED.format(35) + "x | INFO | begin\n")
    assert last_saved(log) == 35
    log.write_bytes(b"\xff\xfe nothing saved\n")
    assert last_saved(log) == 0


def test_the_end_of_a_log(tmp_path):
    log = tmp_path / "train.log"
    assert tail(log) == ""
    log.write_text("a" * 10 + "b" * 5)
    assert tail(log, 5) == "b" * 5
    assert tail(log, 100) == "a" * 10 + "b" * 5
    log.write_bytes(b"\xe2\x82\xac")
    assert tail(log, 2) == "\ufffd" * 2  # a character cut in its middle
