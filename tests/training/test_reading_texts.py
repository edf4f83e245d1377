"""Text encoders go where there is room for them: to the GPU, or to main memory if it is too small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.cache import Cache
from training import generate, loop, machine
from training.backends.base import Backend
from training.dataset import Prompt
from training.generate import GenerationRequest
from training.generator import Adapter, open_generator
from training.job import Job
from training.latents import Encoder
from training.memory import GIB
from training.processes import Processes
from training.sampling import SamplingSettings

CPU, GPU = torch.device("cpu"), torch.device("cuda")
ROOM = [(0.5, CPU), (2.0, GPU)]
"""GiB of a GPU's memory, half of one of which a process takes before its first tensor, and where texts are read."""


class Loading(Exception):
    """Ends a run as soon as parts are loaded: there is no GPU here to put them on."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, torch.dtype, torch.device]]:
    """The first part that is loaded, the dtype and the device that it is loaded to."""
    found: list[tuple[str, torch.dtype, torch.device]] = []

    @contextmanager
    def loaded(self: Backend, parts: Sequence[str], dtype: torch.dtype, device: torch.device) -> Iterator[None]:
        found.append((parts[0], dtype, device))
        raise Loading
        yield

    monkeypatch.setattr(Backend, "loaded", loaded)
    return found


@pytest.mark.parametrize(("gib", "device"), ROOM)
def test_a_training_reads_its_texts_where_the_encoders_have_room(
    gib: float,
    device: torch.device,
    make_job: Callable[..., Job],
    asked: list[tuple[str, torch.dtype, torch.device]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(machine, "gpu_memory", lambda _: gib * GIB)
    processes = Processes()
    processes.device = GPU
    with pytest.raises(Loading):
        loop.encode(make_job(cache=Cache(tmp_path / "cache")), processes, lambda *_: None)
    assert asked == [("text_encoder", torch.bfloat16, device)]


@pytest.mark.parametrize(("gib", "device"), ROOM)
def test_a_prompt_is_read_where_the_encoders_have_room(
    gib: float,
    device: torch.device,
    lora: Path,
    tiny_flux: Path,
    asked: list[tuple[str, torch.dtype, torch.device]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "gpu_memory", lambda _: gib * GIB)
    generator = open_generator([Adapter(lora)], str(tiny_flux), SamplingSettings(steps=1, guidance=1.0), CPU)
    with pytest.raises(Loading):
        generate.encode(replace(generator, device=GPU), [GenerationRequest("[MOVIE-SHOTS] a fox")])
    assert asked == [("text_encoder", torch.bfloat16, device)]


def test_what_the_cpu_reads_for_a_gpu_is_kept_in_the_gpus_dtype(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job()
    encoder = Encoder(job.backend, Cache(tmp_path / "cache"), torch.bfloat16, GPU, CPU, lambda *_: None)
    (read,) = encoder.texts([Prompt("a fox")]).values()
    assert {name: one.dtype for name, one in read.items()} == {"text": torch.bfloat16, "pooled": torch.bfloat16}
    assert read["text"].isfinite().all()
