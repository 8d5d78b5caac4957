"""Files that appear whole or not at all."""

import os

import pytest

from minidecilm.files import replacing


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="is a pipe or device"), replacing(tmp_path / "pipe") as file:
        file.touch()
    assert [path.is_fifo() for path in tmp_path.iterdir()] == [True]
