"""Every backend that is found keeps the contract of backends, whoever wrote it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny
import tiny_newer

from iclora.testing import backends as contract
from pipeline import plugins
from training import backends
from training.backends.base import Backend

NAMES = [*plugins.names(backends), "toy_32", "toy_reference"]


@pytest.fixture(scope="module", params=NAMES)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend on a small model, built by the backend itself or by the function of its name in `tests/tiny*.py`."""
    request.getfixturevalue("toys")
    module = plugins.load(backends, request.param)
    functions = {**vars(tiny), **vars(tiny_newer)}
    build: Callable[[Path], Path] | None = getattr(module, "tiny", None) or functions.get(request.param)
    assert build, f"no small model for the backend {request.param}: give it a function tiny(folder)"
    made: Backend = module.make(str(build(tmp_path_factory.mktemp("models") / request.param)))
    made.check()
    with pytest.MonkeyPatch.context() as patch:  # some families enlarge every reference image to a million pixels
        patch.setattr(type(made), "REFERENCE_PIXELS", 64 * 64)
        yield made


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_the_backend_keeps_the_contract(backend: Backend, check: Callable[[Backend], None]) -> None:
    check(backend)


def test_only_backends_know_the_configs_of_their_vae_and_scheduler() -> None:
    """Names of VAE and scheduler settings anywhere else would tie the toolkit to a family."""
    home = Path(backends.__file__).parents[1]
    files = [path.relative_to(home) for path in home.rglob("*.py")]
    others = [file for file in files if file.parts[0] != "backends"]
    names = re.compile(r"latent_channels|scaling_factor|shift_factor|use_dynamic_shifting|_repeated_blocks|vae\.config")
    found = {str(file): names.findall((home / file).read_text(encoding="utf-8")) for file in others}
    assert len(found) > 20 and not any(found.values()), found


def test_no_two_backends_train_the_same_family(toys: None) -> None:
    made = [plugins.load(backends, name).make(None) for name in NAMES]
    assert len({backend.BASE for backend in made}) == len(NAMES)
