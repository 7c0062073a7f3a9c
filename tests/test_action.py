"""`action.yml` and the hooks, tried as another repository would: their own steps, in bash and git.

What GitHub's runner does for an action is done here: expressions are filled in, and steps run in
order with the variables that it sets. Its interface for comments is a server of a few lines.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import threading
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="it reads action.yml")
ROOT = Path(__file__).resolve().parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
CONFIG = """
[[tool.budgetnet.check]]
name = "digits; touch hacked"
model = "s6"
params = "20k"

[[tool.budgetnet.check]]
name = "$(touch hacked)"
model = "c16 c16 p c32 gap10"
input = "1x28x28"
macs = "2M"
"""

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")


def git(folder, *words):
    who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def make_repository(folder, files):
    """A git repository with these files, committed."""
    folder.mkdir()
    git(folder, "init", "-q")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def make_script(folder):
    """The command as pip puts it in place, for this interpreter."""
    folder.mkdir()
    script = folder / "budgetnet"
    call = "import sys; from budgetnet.cli import main; sys.exit(main())"
    script.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-c", call])} "$@"\n')
    script.chmod(0o755)
    (folder / "python").symlink_to(sys.executable)


class Runner:
    """A runner of GitHub's with one consumer's repository."""

    def __init__(self, folder, files, inputs, event):
        self.work = make_repository(folder / "consumer", files)
        self.folder, self.outputs, self.logs = folder, {}, {}
        self.inputs = {k: v.get("default", "") for k, v in ACTION["inputs"].items()} | inputs
        (folder / "temp dir").mkdir()
        make_script(folder / "bin")
        for name in ("output", "summary"):
            (folder / name).write_text("")
        (folder / "event.json").write_text(json.dumps(event))
        self.env = {
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
            "HOME": str(folder), "CI": "true", "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"), "GITHUB_WORKSPACE": str(self.work),
            "RUNNER_TEMP": str(folder / "temp dir"), "GITHUB_REPOSITORY": "me/consumer",
            "GITHUB_EVENT_PATH": str(folder / "event.json"), "GITHUB_API_URL": "http://127.0.0.1:9",
        }  # fmt: skip

    def filled(self, text):
        """A text with the expressions in it filled in."""

        def value(found):
            kind, *path = found[1].split(".")
            if kind == "steps":
                return self.outputs[path[2]]
            return "a token" if found[1] == "github.token" else self.inputs[path[0]]

        return re.sub(r"\$\{\{ ([\w.-]+) \}\}", value, text)

    def wants(self, condition):
        name, sign, text = re.fullmatch(r"inputs\.([\w-]+) (==|!=) '(\w*)'", condition).groups()
        return (self.filled(self.inputs[name]) == text) is (sign == "==")

    def step(self, step):
        """Run a step; its status."""
        (self.folder / "step.sh").write_text(step["run"], encoding="utf-8")
        env = {name: self.filled(self.filled(text)) for name, text in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(self.folder / "step.sh")],
            cwd=self.work, env=self.env | env, capture_output=True, text=True, encoding="utf-8",
        )  # fmt: skip
        self.logs[step["name"]] = done.stdout + done.stderr
        lines = (self.folder / "output").read_text(encoding="utf-8").splitlines()
        self.outputs = dict(line.split("=", 1) for line in lines)
        return done.returncode

    def run(self, skipped=("Install",)):
        """Run the steps as far as one fails; the status of the last."""
        for step in ACTION["runs"]["steps"]:
            if "run" not in step or step["name"] in skipped:
                continue
            if self.wants(step["if"]) if "if" in step else True:
                assert "bash" == step["shell"]
                if code := self.step(step):
                    return code
        return 0

    def summary(self):
        return (self.folder / "summary").read_text(encoding="utf-8")


@pytest.fixture
def runner(tmp_path):
    def make(config=CONFIG, event=None, files=(), **inputs):
        inputs = {name.replace("_", "-"): value for name, value in inputs.items()}
        return Runner(tmp_path, {"pyproject.toml": config, **dict(files)}, inputs, event or {})

    return make


def test_a_repository_within_its_budgets(runner):
    run = runner()
    assert 0 == run.run()
    assert ("0", "within") == (run.outputs["exit-code"], run.outputs["verdict"])
    content = json.loads(Path(run.outputs["json"]).read_text(encoding="utf-8"))
    assert ["within", "within"] == [check["verdict"] for check in content["checks"]]
    assert "2 checks: 2 within" in run.logs["Check"]
    assert "14,372" in run.summary()
    assert run.summary() == Path(run.outputs["markdown"]).read_text(encoding="utf-8")
    assert "Comment" not in run.logs
    assert set(ACTION["outputs"]) == set(run.outputs)


def test_a_model_that_grew_fails_the_job_at_its_line(runner):
    run = runner(CONFIG.replace("20k", "14k"))
    assert 1 == run.run()
    assert ("1", "over") == (run.outputs["exit-code"], run.outputs["verdict"])
    assert "::error file=pyproject.toml,line=5,title=budgetnet%3A digits" in run.logs["Check"]
    assert "cheapest single change" in run.summary()


@pytest.mark.deep
def test_later_steps_may_decide(runner):
    run = runner(CONFIG.replace("20k", "14k"), fail="false", why="false")
    assert 0 == run.run()
    assert "over" == run.outputs["verdict"]


def test_checks_are_chosen_by_name_and_never_run_as_commands(runner):
    run = runner(
        CONFIG.replace("20k", "14k"), only="$(touch hacked)\n", save="badge=b.svg\njunit=j"
    )
    assert 0 == run.run()
    content = json.loads(Path(run.outputs["json"]).read_text(encoding="utf-8"))
    assert ["$(touch hacked)"] == [check["name"] for check in content["checks"]]
    assert {".git", "pyproject.toml", "b.svg", "j"} == {path.name for path in run.work.iterdir()}


@pytest.mark.deep
@pytest.mark.parametrize("config", ["; touch hacked", "$(touch hacked)", "none.toml"])
def test_a_configuration_that_is_missing(runner, config):
    run = runner()
    run.inputs["config"] = config
    assert 2 == run.run()
    assert "error" == run.outputs["verdict"]
    assert "::error title=budgetnet::budgetnet check could not run" in run.logs["Check"]
    assert "could not run" in run.summary()
    assert not (run.work / "hacked").exists()


@pytest.mark.deep
def test_a_figure_that_is_unknown(runner):
    run = runner("""
[[tool.budgetnet.check]]
model = "nets.py:Inverse"
input = "1x8x8"
macs = "1M"
""", files={"nets.py": "from torch import linalg, nn\n\nclass Inverse(nn.Module):\n"
            "    def forward(self, x):\n        return linalg.inv(x)\n"})  # fmt: skip
    assert 3 == run.run()
    assert "unknown" == run.outputs["verdict"]


class Comments(BaseHTTPRequestHandler):
    """The part of GitHub's interface that comments need; pages hold two."""

    def reply(self, status, content):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def do_GET(self):
        self.server.calls.append("GET")
        page = int(self.path.rpartition("=")[2])
        self.reply(200, self.server.comments[2 * page - 2 : 2 * page])

    def write(self):
        self.server.calls.append(self.command)
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))["body"]
        if self.headers["Authorization"] != "Bearer a token":
            return self.reply(403, {"message": "Resource not accessible by integration"})
        if self.command == "POST":
            assert "/repos/me/consumer/issues/7/comments" == self.path
            self.server.comments.append({"id": len(self.server.comments), "body": body})
        else:
            number = int(self.path.removeprefix("/repos/me/consumer/issues/comments/"))
            self.server.comments[number]["body"] = body
        return self.reply(201, {})

    do_POST = do_PATCH = write

    def log_message(self, *_):
        pass


@pytest.fixture
def github():
    with ThreadingHTTPServer(("127.0.0.1", 0), Comments) as server:
        server.calls = []
        server.comments = [{"id": i, "body": body} for i, body in enumerate(["a", None, "b"])]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


PULL = {"pull_request": {"number": 7}}


@pytest.mark.deep
def test_one_comment_is_kept(runner, github):
    run = runner(event=PULL, comment="true")
    run.env["GITHUB_API_URL"] = f"http://127.0.0.1:{github.server_address[1]}"
    assert 0 == run.run()
    assert 4 == len(github.comments)
    assert "14,372" in github.comments[3]["body"]
    (run.work / "pyproject.toml").write_text(CONFIG.replace("20k", "14k"))
    assert 1 == run.run()
    assert 4 == len(github.comments)
    assert "at most 14,000" in github.comments[3]["body"]
    assert ["GET", "GET", "GET", "POST", "GET", "GET", "PATCH"] == github.calls
    run.inputs["config"] = "other.toml"
    (run.work / "other.toml").write_text("x" * 70_000 + CONFIG)
    run.run()
    assert 5 == len(github.comments)


def test_a_fork_gets_the_summary_and_a_note(runner, github):
    run = runner(event=PULL, comment="true", token="of a fork")
    run.env["GITHUB_API_URL"] = f"http://127.0.0.1:{github.server_address[1]}"
    assert 0 == run.run()
    assert 3 == len(github.comments)
    assert "::notice title=budgetnet::no comment was written: " in run.logs["Comment"]
    assert "403" in run.logs["Comment"]
    assert "14,372" in run.summary()


@pytest.mark.deep
@pytest.mark.parametrize(
    ("event", "why"), [({}, "this run is of no pull request"), (PULL, "GitHub was not reached")]
)
def test_without_a_pull_request_or_a_network(runner, event, why):
    run = runner(event=event, comment="true")
    assert 0 == run.run()
    assert f"no comment was written: {why}" in run.logs["Comment"]


def test_a_long_comment_is_cut_at_a_line(tmp_path, github):
    (tmp_path / "long.md").write_text("\n".join(["x" * 99] * 1000))
    (tmp_path / "event.json").write_text(json.dumps(PULL))
    env = {"GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITHUB_REPOSITORY": "me/consumer",
           "GITHUB_API_URL": f"http://127.0.0.1:{github.server_address[1]}",
           "TOKEN": "a token"}  # fmt: skip
    script = [sys.executable, "-I", ROOT / ".ci" / "comment.py", tmp_path / "long.md", "a --> b"]
    subprocess.run(script, env=env, check=True)
    head, *lines = github.comments[-1]["body"].splitlines()
    assert "<!-- budgetnet check a%20--%3E%20b -->" == head
    assert "The job's summary has the rest." == lines[-1]
    assert {"", "x" * 99} == set(lines[2:-1])
    assert len(github.comments[-1]["body"]) < 65_536


def test_no_input_is_part_of_a_script():
    scripts = [step["run"] for step in ACTION["runs"]["steps"] if "run" in step]
    assert 4 == len(scripts)
    assert not [script for script in scripts if "${{" in script]


@pytest.mark.deep
def test_the_step_that_installs(runner, tmp_path):
    """In an environment that lacks nothing but budgetnet itself; pip builds it from this tree."""
    venv.create(tmp_path / "venv", with_pip=True)
    packages = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")})
    (Path(packages) / "rest.pth").write_text("\n".join(p for p in sys.path if "-packages" in p))
    run = runner(files={"requirements.txt": "markupsafe>=2\n"}, requirements="-r requirements.txt")
    run.env["PATH"] = f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    del run.env["PYTHONPATH"]
    code = run.run(skipped=())
    if "No matching distribution found for hatchling" in run.logs["Install"]:
        pytest.skip("no package index is reachable")
    assert 0 == code, run.logs
    assert (tmp_path / "venv" / "bin" / "budgetnet").exists()
    assert "within" == run.outputs["verdict"]


@pytest.fixture
def hooked(tmp_path):
    """A repository with one of the hooks; what `pre-commit` says when something is committed."""
    command = shutil.which("pre-commit", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if command is None:
        pytest.skip("pre-commit is not installed")
    make_script(tmp_path / "bin")
    env = os.environ | {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PRE_COMMIT_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip

    def make(hook, source):
        uses = f"repos: [{{repo: {source}, rev: HEAD, hooks: [{{id: {hook}}}]}}]\n"
        files = {"pyproject.toml": CONFIG, "a.txt": "", ".pre-commit-config.yaml": uses}
        folder = make_repository(tmp_path / "consumer", files)

        def run(*words):
            done = subprocess.run(
                [command, "run", "--verbose", "--color", "never", *words], cwd=folder, env=env,
                capture_output=True, text=True, encoding="utf-8",
            )  # fmt: skip
            return done.returncode, done.stdout + done.stderr

        return folder, env, run

    return make


@pytest.mark.deep
def test_the_hook_in_the_environment_of_the_project(hooked, tmp_path):
    text = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    source = make_repository(tmp_path / "source", {".pre-commit-hooks.yaml": text})
    folder, _, run = hooked("budgetnet-system", source)
    code, log = run("--all-files")
    assert 0 == code, log
    assert "2 checks: 2 within" in log
    (folder / "pyproject.toml").write_text(CONFIG.replace("20k", "14k"))
    git(folder, "add", "-A")
    code, log = run()
    assert 1 == code
    assert "at most 14,000" in log
    git(folder, "checkout", "-q", "HEAD", "--", "pyproject.toml")
    (folder / "a.txt").write_text("no file that a model depends on")
    git(folder, "add", "-A")
    code, log = run()
    assert 0 == code
    assert "Skipped" in log


@pytest.mark.deep
def test_the_hook_in_an_environment_of_its_own(hooked, tmp_path):
    """pre-commit makes the environment and builds budgetnet; what that needs is at hand already."""
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", ".git", ".hypothesis", "tests", "docs", "data")
    shutil.copytree(ROOT, source, ignore=ignored)
    git(source, "init", "-q")
    git(source, "add", "-A")
    git(source, "commit", "-qm", "first")
    _, env, run = hooked("budgetnet", source)
    env["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if "-packages" in p)
    code, log = run("--all-files")
    if "No matching distribution found" in log:
        pytest.skip("no package index is reachable")
    assert 0 == code, log
    assert "2 checks: 2 within" in log


def test_the_workflow_on_the_page_uses_what_there_is():
    page = (ROOT / "docs/howto/fail_ci_when_a_model_grows.md").read_text(encoding="utf-8")
    workflow, hooks = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    (step,) = (s for s in workflow["jobs"]["budget"]["steps"] if "budgetnet@" in s.get("uses", ""))
    told = re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|", page, re.MULTILINE)
    told = {name for names in told for name in re.findall(r"`([a-z-]+)`", names)}
    assert set(ACTION["inputs"]) == told
    assert set(ACTION["inputs"]) >= set(step["with"])
    assert {hook["id"] for hook in hooks["repos"][0]["hooks"]} <= {hook["id"] for hook in HOOKS}


def test_every_hook_has_a_test():
    assert ["budgetnet", "budgetnet-system"] == [hook["id"] for hook in HOOKS]
    assert {"budgetnet check"} == {hook["entry"] for hook in HOOKS}
