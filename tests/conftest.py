import copy
import functools
import gc
import importlib
import os
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings

# Building and tracing real networks is slow at first call; time limits would only make noise.
settings.register_profile("default", deadline=None, print_blob=True)
settings.load_profile("default")

pytest_plugins = ["pytester"]

# A shell that starts the suite in the background lets it ignore Ctrl-C, and all that it starts.
# Tests send that to processes of their own.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests run side by side (`pytest -n 0`: one after the other). Then one thread of torch in each, and
# in what they start: more would fight for the same cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from digest import Digest  # noqa: E402  # it imports torch, which reads that number


def pytest_addoption(parser):
    parser.addoption("--deep", action="store_true", help="run the tests that take minutes as well")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("deep"):
        skip = pytest.mark.skip(reason="needs --deep")
        for item in items:
            # A browser takes a while as well.
            if item.get_closest_marker("deep") or "browser" in getattr(item, "fixturenames", ()):
                item.add_marker(skip)
        for test in {item.obj for item in items if is_hypothesis_test(getattr(item, "obj", None))}:
            draw_fewer(test)


def pytest_collection_finish():
    """Let no later look for garbage go through all that was imported."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    gc.freeze()  # nor through what the tests have left, as Python ends: that takes seconds


def draw_fewer(test):
    """Let a property draw a third of its examples; `--deep` draws them all."""
    stated = test._hypothesis_internal_use_settings  # Hypothesis has no public way to this
    fewer = max(5, stated.max_examples // 3)
    test._hypothesis_internal_use_settings = settings(stated, max_examples=fewer)


@pytest.fixture(autouse=True)
def _untouched(request, monkeypatch):
    """With --deep every account of the suite leaves model and process as they were."""
    trace = sys.modules.get("budgetnet.trace.run") if request.config.getoption("deep") else None
    if trace is None or request.node.get_closest_marker("moving"):
        return
    importlib.import_module("budgetnet.testing.operators")  # which keeps what it once imported
    running = trace.running

    @contextmanager
    def checked(tracer, given, **options):
        model = tracer.frames[0].module
        before = Digest(model, whole=False)
        try:
            with running(tracer, given, **options) as outputs:
                yield outputs
        finally:
            changes = before.changes(Digest(model, whole=False))
            assert not changes, f"account has changed {changes}"

    monkeypatch.setattr(trace, "running", checked)


@pytest.fixture(autouse=True)
def _library_of_onnx():
    """Read torch's library of ONNX functions once: it parses their source for every export."""
    module = sys.modules.get("torch.onnx._internal.exporter._registration")
    if module is None or hasattr(module.ONNXRegistry, "once"):
        return
    module.ONNXRegistry.once = True
    read = functools.cache(module.ONNXRegistry.from_torchlib)

    def from_torchlib(*args, **options):
        registry = copy.copy(read(*args, **options))
        registry.functions = {name: [*found] for name, found in registry.functions.items()}
        return registry

    module.ONNXRegistry.from_torchlib = staticmethod(from_torchlib)


@pytest.fixture
def shared_folder():
    """A folder that every user can reach, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def of_database(monkeypatch):
    """Imports a script of examples/benchmarks that reads one of PyTorch's own databases."""
    pytest.importorskip("expecttest", reason="expecttest is not installed; the databases need it")
    benchmarks = Path(__file__).resolve().parents[1] / "examples" / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    return importlib.import_module


CHROMIUM_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


@pytest.fixture(scope="module")  # its thread must not outlive the tests that need it
def browser():
    """Headless Chromium, Debian's by default, driven by Playwright."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
    if not chromium.exists():
        pytest.skip(f"there is no Chromium at {chromium}")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def show(browser, tmp_path):
    """Open a page from a file; at the end it has said nothing wrong and asked for nothing."""
    wrong, contexts = [], []

    def open_page(page, fragment="", **options):
        file = tmp_path / "report.html"
        file.write_text(page, encoding="utf-8")
        context = browser.new_context(**options)
        contexts.append(context)
        tab = context.new_page()
        tab.on(
            "console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None
        )
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        own = (file.as_uri(), "data:", "blob:")
        tab.on("request", lambda r: None if r.url.startswith(own) else wrong.append(r.url))
        tab.goto(file.as_uri() + fragment)
        if options.get("java_script_enabled", True):
            tab.locator("html[data-ready]").wait_for(state="attached")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert [] == wrong
