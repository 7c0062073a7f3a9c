"""Figures in real loggers: TensorBoard, MLflow, Weights & Biases and Lightning where installed."""

import json
from pathlib import Path

import pytest

from budgetnet import Budget, plan
from budgetnet.budget.figures import LISTED
from budgetnet.errors import ArgumentError
from budgetnet.report import log_to, metrics

S6 = "c16 c16 c16 c16 p c16 c16 c16 gap10"
LIMITS = Budget(params="14k", receptive_field=22)


def account():
    return plan(S6, (1, 28, 28), name="s6")


def test_the_dictionary_has_every_figure_that_is_known():
    found = metrics(account(), budget=LIMITS)
    expected = {f"budgetnet/{name}" for name in LISTED}
    assert expected | {"budgetnet/within/params", "budgetnet/within/receptive_field"} == {*found}
    assert 14_372 == found["budgetnet/params"]
    assert (0, 1) == (found["budgetnet/within/params"], found["budgetnet/within/receptive_field"])
    assert found == json.loads(json.dumps(found))
    from torchvision.models import vit_b_16

    attention = metrics(vit_b_16(), (3, 224, 224))
    assert "budgetnet/ram" not in attention  # which is unknown
    assert 86_567_656 == attention["budgetnet/params"]


def test_what_is_no_logger_is_told():
    with pytest.raises(ArgumentError, match=r"a list is not a logger .* metrics"):
        log_to([], account())


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        values = log_to(writer, account(), budget=LIMITS, step=3)
    read = EventAccumulator(str(tmp_path)).Reload()
    assert {*values} == {*read.Tags()["scalars"]}
    for name, value in values.items():
        (event,) = read.Scalars(name)
        assert (3, pytest.approx(value)) == (event.step, event.value)
    (layers,) = read.Tensors("budgetnet/layers/text_summary")
    assert "conv7" in layers.tensor_proto.string_val[0].decode()
    (verdicts,) = read.Tensors("budgetnet/verdicts/text_summary")
    assert "over" in verdicts.tensor_proto.string_val[0].decode()


def test_mlflow(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    pytest.importorskip("sqlalchemy", reason="mlflow-skinny keeps no runs on disk")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/runs.db")
    mlflow.create_experiment("nets", artifact_location=(tmp_path / "files").as_uri())
    mlflow.set_experiment("nets")
    with mlflow.start_run() as run:
        values = log_to(mlflow, account(), budget=LIMITS)
    assert values == mlflow.get_run(run.info.run_id).data.metrics
    (page,) = Path(tmp_path, "files").rglob("budgetnet.html")
    assert "OVER by 372 params" in page.read_text(encoding="utf-8")


def test_wandb(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", project="nets", dir=str(tmp_path)) as run:
        values = log_to(run, account(), budget=LIMITS)
        assert values == {name: run.summary[name] for name in values}
    (page,) = Path(tmp_path).rglob("*.html")
    assert "OVER by 372 params" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["CSVLogger", "TensorBoardLogger"])
def test_lightning(kind, tmp_path):
    loggers = pytest.importorskip("lightning.pytorch.loggers", reason="lightning is not installed")
    if kind == "TensorBoardLogger":
        pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    logger = getattr(loggers, kind)(str(tmp_path))
    values = log_to(logger, account())
    logger.save()
    if kind == "CSVLogger":
        (file,) = tmp_path.rglob("metrics.csv")
        head, line = file.read_text().splitlines()
        got = dict(zip(head.split(","), map(float, line.split(",")), strict=True))
        assert values == {name: got[name] for name in values}
    else:
        assert list(tmp_path.rglob("events.*"))
