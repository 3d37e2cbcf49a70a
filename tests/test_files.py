"""Files are whole or not there; one process at a time."""

import errno
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest

from heed import files
from heed.errors import CheckpointError
from heed.files import (
    append,
    aside,
    aside_folder,
    growing,
    holds_something,
    locked,
    remove,
    sha256,
    together,
    working_in,
    write_bytes,
    write_json,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_the_line_ends_it_has(tmp_path):
    write_text(tmp_path / "a", "one\r\ntwo\nü")
    assert (tmp_path / "a").read_bytes() == "one\r\ntwo\nü".encode()
    write_json(tmp_path / "b", {"é": 1})
    assert (tmp_path / "b").read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    assert names(tmp_path) == ["a", "b"]


def test_json_holds_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a", {"x": float("nan")})
    assert names(tmp_path) == []


def test_what_fails_leaves_the_old_one(tmp_path):
    write_text(tmp_path / "a", "old")
    with suppress(RuntimeError), aside(tmp_path / "a") as other:
        other.write_text("new")
        raise RuntimeError
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_what_a_dead_process_left_is_taken_over(tmp_path):
    (tmp_path / ".a.writing").write_text("a longer text of before")
    write_text(tmp_path / "a", "new")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "new"


def test_a_folder_is_whole_or_not_there(tmp_path):
    with aside_folder(tmp_path / "f") as other:
        (other / "x").write_text("1")
    with suppress(RuntimeError), aside_folder(tmp_path / "f") as other:
        (other / "y").write_text("2")
        raise RuntimeError
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f") == ["x"]
    with aside_folder(tmp_path / "f") as other:
        (other / "z").write_text("3")
    assert names(tmp_path / "f") == ["z"]


def test_removing_what_is_not_there_is_no_error(tmp_path):
    remove(tmp_path / "a")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("1")
    (tmp_path / ".d.removing").mkdir()  # of a process that died
    remove(tmp_path / "d")
    assert names(tmp_path) == []


def test_the_hash_is_that_of_the_content(tmp_path):
    write_bytes(tmp_path / "a", b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


HOLD = (
    "import sys, time; from heed.files import locked\n"
    "with locked(sys.argv[1], 'training in runs/a'):\n    print('held', flush=True); time.sleep(60)"
)


def test_a_lock_names_who_holds_it_and_dies_with_it(tmp_path):
    lock = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(CheckpointError, match=f"process {other.pid} is training in runs/a already"),
            locked(lock, "x"),
        ):
            pass
        other.send_signal(signal.SIGKILL)
    with locked(lock, "x"):
        assert lock.exists()
    assert names(tmp_path) == []


def count_up(path):
    for _ in range(50):
        with aside(path) as other:
            other.write_text(str(int(path.read_text()) + 1))


def count_locked(lock, path):
    done = 0
    while done < 50:
        try:
            with locked(lock, "counting"):
                path.write_text(str(int(path.read_text()) + 1))
                done += 1
        except CheckpointError:
            continue


def test_writers_of_one_file_take_turns(tmp_path):
    path = tmp_path / "n"
    path.write_text("0")
    run_twice(count_up, path)
    assert path.read_text() == "100"
    run_twice(count_locked, tmp_path / ".lock", path)
    assert path.read_text() == "200"
    assert names(tmp_path) == ["n"]


def run_twice(work, *arguments):
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=work, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0


def test_a_writer_synced_the_file_before_its_name_and_the_folder_after(tmp_path, monkeypatch):
    said = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(number):
        said.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{number}"))))
        real_sync(number)

    def replace(source, target):
        said.append(("rename", os.path.basename(target)))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    write_text(tmp_path / "a", "x")
    assert said == [("sync", ".a.writing"), ("rename", "a"), ("sync", tmp_path.name)]


def test_a_folder_is_tidied_by_who_holds_it_and_left_alone_by_others(tmp_path):
    (tmp_path / "mine.txt").write_text("years")
    (tmp_path / ".a.json.writing").write_text("half")
    with locked(tmp_path / files.LOCK, "tuning"):
        assert holds_something(tmp_path, "tune.json")
        assert names(tmp_path) == [files.LOCK, "mine.txt"]
    (tmp_path / ".a.json.writing").write_text("half")
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / files.LOCK)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert holds_something(tmp_path, "tune.json")
        assert ".a.json.writing" in names(tmp_path)
        other.kill()
    assert holds_something(tmp_path, "tune.json")
    assert names(tmp_path) == ["mine.txt"]


def test_what_is_refused_makes_no_folder(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "locked", full)
    said = "cannot be written: No space left on device; choose another"
    with pytest.raises(CheckpointError, match=said), working_in(tmp_path / "a" / "b", "x", "choose another"):
        pass
    assert not (tmp_path / "a" / "b").exists()


def fill(folder, *names):
    for name in names:
        (folder / name).write_text("new")


def test_what_belongs_together_takes_its_place_together(tmp_path):
    fill(tmp_path, "marker", "old", "stays")
    with together(tmp_path, "marker", replacing=["old"]) as new:
        fill(new, "marker", "other")
    assert names(tmp_path) == ["marker", "other", "stays"]


@pytest.mark.parametrize("at", range(5))
def test_what_fails_half_way_is_put_back(tmp_path, monkeypatch, at):
    for name in ("marker", "old", "stays"):
        (tmp_path / name).write_text("old")
    count, real = iter(range(100)), os.replace

    def replace(source, target):
        if next(count) == at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with suppress(OSError), together(tmp_path, "marker", replacing=["old"]) as new:
        fill(new, "marker", "other")
    whole = names(tmp_path) == ["marker", "other", "stays"]
    assert whole or {name: (tmp_path / name).read_text() for name in names(tmp_path)} == dict.fromkeys(
        ["marker", "old", "stays"], "old"
    )


def test_a_line_is_appended_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a"
    append(path, "one\n")
    with resource_limit(8), pytest.raises(OSError, match="File too large"):
        append(path, "a longer line\n")
    assert path.read_text() == "one\n"
    append(path, "two\n")
    assert path.read_text() == "one\ntwo\n"


@contextmanager
def resource_limit(size):
    """No file may become larger than so many bytes, as on a disk that fills up in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_devices_and_links_are_not_replaced(tmp_path):
    write_text("/dev/null", "gone")
    assert not os.path.isfile("/dev/null")
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_growing_file_is_of_use_before_it_is_whole(tmp_path):
    path, partial = tmp_path / "found.csv", tmp_path / "found.csv.partial"
    with growing(path) as file:
        file.write("one\n")
        file.flush()
        assert not path.exists()
        assert partial.read_text() == "one\n"
        with pytest.raises(CheckpointError, match=r"another process is writing .*found\.csv"), growing(path):
            pass
    assert (path.read_text(), partial.exists()) == ("one\n", False)
    with suppress(KeyError), growing(path) as file:
        file.write("two\n")
        raise KeyError
    assert (path.read_text(), partial.read_text()) == ("one\n", "two\n")
    with growing(path) as file:  # begins anew
        file.write("three\n")
    assert (path.read_text(), partial.exists()) == ("three\n", False)


@pytest.fixture
def as_on_windows(monkeypatch):
    """No locks, and nothing that this process has open is renamed or deleted."""
    monkeypatch.setattr(files, "fcntl", None)

    def refusing(change):
        def refuse(*paths, **options):
            opened = {
                os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if is_open(number)
            }
            for path in paths:
                if os.path.realpath(path) in opened:
                    raise PermissionError(errno.EACCES, "another process is using it", str(path))
            return change(*paths, **options)

        return refuse

    for name in ("replace", "rename", "unlink"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


def is_open(number):
    return os.path.lexists(f"/proc/self/fd/{number}")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux what is open")
def test_what_is_open_is_not_renamed_or_deleted_where_that_is_refused(as_on_windows, tmp_path):
    with (tmp_path / "open").open("w"), pytest.raises(PermissionError):
        os.unlink(tmp_path / "open")
    write_text(tmp_path / "a", "one\n")
    write_text(tmp_path / "a", "two\n")
    append(tmp_path / "a", "three\n")
    with growing(tmp_path / "b") as file:
        file.write("four\n")
    with locked(tmp_path / "lock", "trying"):
        assert files.is_held(tmp_path / "lock")
    with together(tmp_path / "folder", "marker") as new:
        (new / "marker").touch()
    (tmp_path / ".c.writing").touch()
    files.sweep(tmp_path)
    remove(tmp_path / "folder")
    os.unlink(tmp_path / "open")
    assert names(tmp_path) == ["a", "b"]
    assert [(tmp_path / name).read_text() for name in "ab"] == ["two\nthree\n", "four\n"]
