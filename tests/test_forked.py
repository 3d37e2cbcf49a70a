"""What `forked.py` makes: a process that shares nothing with the one that tests."""

import gc
import os
import socket
import subprocess
import sys

from forked import forked


def test_objects_of_the_process_that_tests_close_nothing_in_the_other():
    files = [open(os.devnull), open(os.devnull)]  # noqa: SIM115 - one is closed by nobody: that is the point

    def work():
        sockets = [socket.socket() for _ in range(64)]  # the first numbers that are free
        files.clear()
        gc.collect()
        for one in sockets:
            one.getsockname()

    assert subprocess.Popen([sys.executable], **forked(work)).wait(60) == 0
    for file in files:
        file.close()


def test_it_holds_nothing_open_that_the_other_may_wait_for():
    reads, writes = os.pipe()
    with subprocess.Popen([sys.executable], **forked(lambda: sys.stdin.read(), stdin=subprocess.PIPE)) as process:
        os.close(writes)
        assert os.read(reads, 1) == b""  # the end, while the process lives
        assert process.poll() is None
        process.communicate()
    assert process.returncode == 0
    os.close(reads)
