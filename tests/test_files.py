"""What `-o` does to whatever lies at the path, and JSON as strict as its standard."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from budgetnet import errors
from budgetnet.accounting.files import parse_json, read_text, write_atomically
from budgetnet.cli.parser import main

ACCOUNT = ["account", "s6", "--format", "json"]
posix = pytest.mark.skipif(os.name != "posix", reason="there are no such files here")


def run(*arguments, cwd, **options):
    command = [sys.executable, "-m", "budgetnet", *arguments]
    return subprocess.run(command, cwd=cwd, text=True, timeout=120, **options)


@pytest.fixture
def expected(capsys):
    assert 0 == main(ACCOUNT)
    return capsys.readouterr().out


def null_node(folder):
    """A device as /dev/null is one, of our own to lose."""
    path = folder / "null"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.stat(os.devnull).st_rdev)
        path.open("wb").close()
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    return path


@posix
def test_a_device_is_written_through_and_stays(tmp_path, capsys):
    node = null_node(tmp_path)
    before = os.lstat(node)
    assert 0 == main([*ACCOUNT, "-o", str(node)])
    after = os.lstat(node)
    assert stat.S_ISCHR(after.st_mode)
    assert (before.st_ino, before.st_rdev, before.st_mode) == (
        after.st_ino, after.st_rdev, after.st_mode,
    )  # fmt: skip
    assert ["null"] == os.listdir(tmp_path)


@posix
def test_a_link_to_a_device_is_written_through_and_both_stay(tmp_path):
    node, link = null_node(tmp_path), tmp_path / "link"
    link.symlink_to(node.name)
    write_atomically(link, "text")
    assert stat.S_ISCHR(os.lstat(node).st_mode)
    assert node.name == os.readlink(link)


@posix
def test_a_pipe_gets_the_text_and_stays(tmp_path, expected):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()), daemon=True)
    reader.start()
    assert 0 == main([*ACCOUNT, "-o", str(pipe)])
    reader.join(20)
    assert [expected] == got
    assert stat.S_ISFIFO(os.lstat(pipe).st_mode)


@posix
def test_a_reader_that_leaves_is_one_line_and_2(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: os.close(os.open(pipe, os.O_RDONLY)), daemon=True)
    reader.start()
    with pytest.raises(errors.ArgumentError, match=r"cannot write .*pipe \(reason Broken pipe\)"):
        write_atomically(pipe, b"x" * 10_000_000)
    reader.join(20)


@posix
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_by_name(name, tmp_path, expected):
    if not Path(name).parent.exists():
        pytest.skip(f"there is no {name}")
    done = run(*ACCOUNT, "-o", name, cwd=tmp_path, capture_output=True)
    assert (0, expected, "") == (done.returncode, done.stdout, done.stderr)
    log = tmp_path / "log"
    log.write_text("before\n")
    with log.open("a") as out:  # as `>> log`
        done = run(*ACCOUNT, "-o", name, cwd=tmp_path, stdout=out, stderr=subprocess.PIPE)
    assert (0, "") == (done.returncode, done.stderr)
    assert "before\n" + expected == log.read_text()


@posix
def test_a_full_device_is_one_line_and_2(tmp_path, capsys):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    assert 2 == main([*ACCOUNT, "-o", "/dev/full"])
    assert (
        "budgetnet: cannot write /dev/full (reason No space left on device).\n"
        == capsys.readouterr().err
    )


@posix
def test_through_a_link_the_file_is_written_and_the_link_stays(tmp_path, expected):
    (tmp_path / "real").mkdir()
    target, link, second = tmp_path / "real" / "s6.json", tmp_path / "link", tmp_path / "second"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to("real/s6.json")
    second.symlink_to("link")
    assert 0 == main([*ACCOUNT, "-o", str(second)])
    assert ("real/s6.json", "link") == (os.readlink(link), os.readlink(second))
    assert expected == target.read_text()
    assert 0o640 == stat.S_IMODE(os.stat(target).st_mode)
    assert ["s6.json"] == os.listdir(target.parent)


@posix
def test_a_link_to_nothing_makes_the_file_that_it_names(tmp_path):
    (tmp_path / "link").symlink_to("new.json")
    write_atomically(tmp_path / "link", "text")
    assert "new.json" == os.readlink(tmp_path / "link")
    assert "text" == (tmp_path / "new.json").read_text()


@posix
def test_a_circle_of_links_is_one_line(tmp_path, capsys):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for call in ([*ACCOUNT, "-o", str(tmp_path / "a")], ["check", "--config", str(tmp_path / "b")]):
        assert 2 == main(call)
        (line,) = capsys.readouterr().err.splitlines()
        assert "Too many levels of symbolic links" in line
    assert ["a", "b"] == sorted(os.listdir(tmp_path))


@posix
def test_permissions_and_owner_stay(tmp_path):
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(file, 65534, 65534)
    before = os.stat(file)
    write_atomically(file, "new")
    after = os.stat(file)
    assert "new" == file.read_text()
    assert (before.st_mode, before.st_uid, before.st_gid) == (
        after.st_mode, after.st_uid, after.st_gid,
    )  # fmt: skip


@posix
def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "by_hand").write_text("")
    write_atomically(tmp_path / "ours", "text")
    modes = {stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("by_hand", "ours")}
    assert 1 == len(modes)


def test_a_folder_is_refused_by_name(tmp_path, capsys):
    for path in (tmp_path, f"{tmp_path}/"):
        assert 2 == main([*ACCOUNT, "-o", str(path)])
        assert f"cannot write {tmp_path} (reason it is a folder)" in capsys.readouterr().err
    assert [] == os.listdir(tmp_path)


UNWRITABLE = """
import os, sys
from pathlib import Path
from budgetnet.errors import ArgumentError
from budgetnet.accounting.files import write_atomically
if os.geteuid() == 0:
    os.setuid(65534)
for name in sys.argv[1:]:
    try:
        write_atomically(Path(name), "new")
    except ArgumentError as error:
        print(error)
"""


@posix
def test_what_may_not_be_written_is_one_line_and_stays(tmp_path):
    """As a user whom permissions bind, which root is not."""
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents if os.geteuid() == 0 else ():
        if not os.stat(folder).st_mode & 0o001:
            folder.chmod(os.stat(folder).st_mode | 0o011)
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o444)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(0o555)
    names = [str(tmp_path / "file"), str(tmp_path / "folder" / "new")]
    done = subprocess.run(
        [sys.executable, "-c", UNWRITABLE, *names], capture_output=True, text=True, timeout=120
    )
    assert "" == done.stderr
    assert [
        f"cannot write {names[0]} (reason it may not be written).",
        f"cannot write {names[1]} (reason Permission denied).",
    ] == done.stdout.splitlines()
    assert "old" == (tmp_path / "file").read_text()
    assert ["file", "folder"] == sorted(os.listdir(tmp_path))
    assert [] == os.listdir(tmp_path / "folder")


def test_a_long_name_is_written(tmp_path):
    name = "n" * 250
    write_atomically(tmp_path / name, "text")
    assert [name] == os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "no/such/folder/x"])
def test_names_that_cannot_be_are_one_line(name, tmp_path):
    for call in (lambda path: write_atomically(path, "text"), read_text):
        with pytest.raises(errors.ArgumentError, match=r"^cannot (read|write) [^\n\0]*$"):
            call(tmp_path / name)
    assert [] == os.listdir(tmp_path)


def test_a_stop_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("old")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, "new")
    assert "old" == file.read_text()
    assert ["file"] == os.listdir(tmp_path)


def test_half_a_surrogate_pair_is_told_by_its_code(tmp_path):
    write_atomically(tmp_path / "file", "net\udc80.py")
    assert b"net\\udc80.py" == (tmp_path / "file").read_bytes()


@posix
def test_a_file_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("budgetnet.accounting.files.MOST_BYTES", 1000)
    with pytest.raises(errors.ArgumentError, match=r"/dev/zero \(reason it has more than 1,000"):
        read_text(Path("/dev/zero"))


@pytest.mark.parametrize(("text", "reason"), [
    ('{"a": 1, "a": 2}', "the key 'a' appears twice"),
    ('{"b": [{"a": 1, "c": 0, "a": 1}]}', "the key 'a' appears twice"),
    ("[NaN]", "NaN is not a valid number"),
    ("[-Infinity]", "-Infinity is not a valid number"),
    ("[1e999]", "'1e999' is not a valid number"),
    ("9" * 5000, "Exceeds the limit"),
    ("[" * 100_000, "it is nested too deeply"),
    ('{"a":' * 100_000, "it is nested too deeply"),
    (b"\xff", "it is not text"),
    ("{", "Expecting property name"),
    ("", "Expecting value"),
])  # fmt: skip
def test_json_is_that_of_its_standard(text, reason):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        parse_json(text)
    assert str(caught.value).startswith(reason)
    assert {"a": [1, 2.5, None, True, "é"]} == parse_json('{"a": [1, 2.5, null, true, "\\u00e9"]}')
