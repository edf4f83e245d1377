"""Blocks in main memory during a training. There is no GPU here: what is away is filled with NaN, so that whatever used
it would show."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from pipeline.errors import BadInput
from training import checks, loop, machine, offload
from training.config import Config
from training.job import Job
from training.processes import Processes

CPU, GPU = torch.device("cpu"), torch.device("cuda")
Make = Callable[..., Job]


class Elsewhere:
    """Stands in for main memory: it alone has the weights of blocks that are away, which are NaN wherever they are."""

    def __init__(self) -> None:
        self.home: dict[int, Tensor] = {}
        self.out: list[weakref.ref[Tensor]] = []
        self.most = 0

    def stream(self, transformer: torch.nn.Module, blocks: Any, device: torch.device) -> None:
        _stream(transformer, blocks, device)
        for block in blocks:
            for weight in block.parameters():
                if not weight.requires_grad:
                    self.home[weight.data_ptr()] = weight.detach().clone()
                    weight.data.fill_(torch.nan)

    def copied(self, weight: Tensor, device: torch.device) -> Tensor:
        copy = _copied(self.home[weight.data_ptr()], device)
        self.out = [*(one for one in self.out if one() is not None), weakref.ref(copy.untyped_storage())]
        self.most = max(self.most, len(self.out))
        return copy


_stream, _copied = offload.stream, offload.copied


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    found = Elsewhere()
    monkeypatch.setattr(offload, "stream", found.stream)
    monkeypatch.setattr(offload, "copied", found.copied)
    return found


def trained(job: Job) -> tuple[dict[str, Tensor], Tensor]:
    """The gradients of the first step, and a prediction without them."""
    encoded = loop.encode(job, Processes(), lambda *_: None)
    transformer = machine.load_transformer(job.backend, job.config, CPU)
    for weight in transformer.parameters():  # where a file has put it, products may differ in the last bit
        weight.data = weight.data.clone()
    state = loop._begin(job, transformer, None, CPU)
    for weight in state.weights.values():  # so that A has a gradient too
        weight.data = 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    loop.gradients(job, encoded, transformer, state, Processes())
    found = {name: weight.grad for name, weight in state.weights.items() if weight.grad is not None}
    shape = (1, *job.backend.latent_shape(job.shown.canvas))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        drawn = job.backend.predict(transformer, noise, torch.tensor([0.5]), [next(iter(encoded.texts.values()))])
    return found, drawn


@pytest.mark.parametrize(("base", "kind"), [("flux-1", "fp8"), ("z-image", "fp32")])
def test_gradients_are_the_same_bit_for_bit_and_nothing_is_used_while_it_is_away(
    base: str, kind: str, make_job: Make, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    folder = (tiny.flux if base == "flux-1" else tiny.z_image)(tmp_path / "model", length=128)
    settings = {"model": str(folder), "base_weights": kind, "checkpointing": True, "batch": 2, "micro_batch": 1}
    usual, drawn = trained(make_job(overrides=[f"base={base}"], **settings))
    assert not elsewhere.home
    away, drawn_away = trained(make_job(overrides=[f"base={base}"], offload=True, **settings))
    assert elsewhere.home and usual.keys() == away.keys()
    for name, gradient in usual.items():
        assert gradient.any() and torch.equal(gradient, away[name]), name
    assert torch.equal(drawn, drawn_away)


def test_a_training_uses_one_block_at_a_time(make_job: Make, elsewhere: Elsewhere, tmp_path: Path) -> None:
    folder = tiny.z_image(tmp_path / "model", length=128)
    job = make_job(overrides=["base=z-image"], model=str(folder), checkpointing=True, offload=True)
    trained(job)
    blocks = job.backend.blocks(job.backend.blank("transformer"))
    most = max(len(list(block.parameters())) for block in blocks)
    assert most <= elsewhere.most <= 2 * most < sum(len(list(block.parameters())) for block in blocks)


def test_a_training_may_resume_with_its_blocks_in_main_memory(make_job: Make) -> None:
    assert make_job(offload=True).recipe == make_job().recipe


def test_offload_is_refused_where_it_cannot_work(make_job: Make) -> None:
    with pytest.raises(BadInput, match=r"train\.offload=true copies .* to a GPU one by one, and there is none"):
        checks.run(make_job(offload=True), CPU)
    with pytest.raises(BadInput, match=r"which train\.compile=true and train\.checkpointing=false do not allow"):
        machine.check(Config(offload=True, compile=True, checkpointing=False), GPU)


def test_offload_recomputes_blocks_of_small_models_too(make_job: Make) -> None:
    blank = make_job().backend.blank("transformer")
    assert machine.recomputes(Config(offload=True), blank) and not machine.recomputes(Config(), blank)
