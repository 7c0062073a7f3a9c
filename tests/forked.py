"""The example in processes of its own that import nothing slow: forked from one that has it all.

A start takes some five seconds, all of it imports of torch, its compiler, scikit-learn and
matplotlib. A server of `multiprocessing` does them once; the example and budgetnet are imported by
each process for itself. `test_examples.py` starts the example as its users do, too.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "mnist_s6.py"
SERVER = None if sys.platform == "win32" else multiprocessing.get_context("forkserver")
if SERVER:
    SERVER.set_forkserver_preload(
        ["torch._dynamo", "torchvision.datasets", "sklearn.datasets", "matplotlib.figure"]
    )


def example(arguments):
    sys.argv = [str(SCRIPT), *arguments]
    sys.path.insert(0, str(SCRIPT.parent))
    runpy.run_path(str(SCRIPT), run_name="__main__")


def with_small_files(size, arguments):
    """The example where no file grows beyond a size, as on a full disk."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    example(arguments)


def as_nobody(arguments):
    """The example as a user whom permissions bind, which root is not; who may not read Python."""
    sys.path.insert(0, str(SCRIPT.parent))
    import sklearn.datasets

    import figures  # noqa: F401  # while Python can be read
    import mnist_s6

    sklearn.datasets.load_digits()
    if os.geteuid() == 0:
        os.setuid(65534)
    sys.exit(mnist_s6.main(arguments))


def _begin(outputs, folder, environment, function, *arguments):
    for descriptor, file in enumerate(outputs, start=1):
        os.dup2(os.open(file, os.O_WRONLY), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    function(*arguments)


class Run:
    """A call in a process of its own; what has a name of `subprocess.Popen` does the same."""

    def __init__(self, function, *arguments, cwd=None):
        self._folder = tempfile.TemporaryDirectory()
        outputs = [Path(self._folder.name) / name for name in ("out", "err")]
        for pipe in outputs:  # no files, whose size may be limited; they hold 64 KiB unread
            os.mkfifo(pipe)
        self._outputs = [os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) for pipe in outputs]
        self._process = SERVER.Process(
            target=_begin,
            args=(outputs, cwd or Path.cwd(), dict(os.environ), function, *arguments),
            daemon=True,
        )
        self._process.start()

    @property
    def returncode(self):
        return self._process.exitcode

    poll = returncode.fget

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self._process.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=None):
        """What it has written, once it has ended."""
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        texts = []
        for pipe in self._outputs:
            with open(pipe) as file:
                texts.append(file.read())
        return tuple(texts)
