import pytest


@pytest.fixture(scope="session")
def matrix_dense(toy_data, tmp_path_factory):
    """A dense training of four updates, with snapshots and an EMA, of the smallest model."""
    from matrix.rows import train_dense
    from matrix.training import in_this_process

    folder = tmp_path_factory.mktemp("matrix") / "dense"
    with in_this_process():
        train_dense(toy_data, folder)
    return folder
