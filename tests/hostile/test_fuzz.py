from hostile import fuzz


def test_changes_at_random_are_refused_or_change_nothing(tmp_path):
    """The short form; ``make fuzz`` goes on for ten minutes."""
    found, failures = fuzz.fuzz(tmp_path, 1, lambda found: found["batches"] == 6)
    print(f"\nfuzz: {dict(found)}")
    assert not failures, {name: said for name, (said, _) in failures.items()}
    assert found["refused"] > 600 and found["another"] > 20
