"""Runs the batches of stages with Ray Data, by workers on this machine or on the machines of a cluster.

Only rows travel: pictures are read and written by the workers, so all machines have to see the run's folder and its
sources under the same paths, and the store is written by this process alone. Nothing of Ray's is imported before there
is a batch for it.
"""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipeline import plugins
from pipeline.engines._capacity import capacity
from pipeline.engines.base import In, Results, Stage, batches, whole
from pipeline.errors import BadInput, ToolkitError
from pipeline.plugins import extras
from pipeline.progress import LOG, told

if TYPE_CHECKING:
    import pyarrow as pa

MOST_TASKS = 4096
"""Tasks that a stage is divided into at most, each of one or more batches: every task costs the scheduler some
milliseconds, and what a worker has begun of a task is done again if it dies."""
WAITING = 2
"""Tasks that a worker holds, the one under way included. With more, short tasks wait for a long one, such as a film."""
RETRIES = 3
"""How often a task is tried again whose worker has died; one that kills every worker must come to an end."""
PART = 1 / 8
"""Of a GPU, for a worker that shares one: eight models of a scorer's size fit into most, and eight cores decode for
each."""
STORE = 1 << 29
"""Bytes of memory for rows on their way, where the cluster is this machine; what doesn't fit goes to the disk."""
SIGN = "workers-see-this.txt"
"""File in the run's folder by which a worker knows that it sees the same folder."""
FOLDERS = "iclora-ray-"
"""Beginning of the names of temporary folders, which the number of their process follows."""
LONGEST_FOLDER = 15
"""Characters of the folder for temporary ones: a socket's path may have 107, of which Ray takes up to 63."""


class Options(plugins.Options):
    address: str = ""
    """Of a running cluster: `auto` for the one that this machine belongs to, or HOST:PORT. If empty, this machine is
    the cluster, which is started for the command and stopped with it."""
    workers: int | None = Field(None, ge=1, le=100_000)
    """Workers of a stage. If not set, one per core of the cluster; of a captioner that asks a server, one per machine,
    each of which asks as many questions at once as the captioner's options allow."""
    gpus: float | None = Field(None, ge=0, le=64)
    """GPUs that a worker takes which runs a model on one: 0.25 puts four of them on each. If not set, 1 for the
    captioner `local` and an eighth for a scorer, whose workers decode images too; 0 if the cluster has none."""
    least: int = Field(2000, ge=0)
    """A run with fewer records is refused, since the engine of this process is quicker there."""


class Ray:
    """The engine for many machines."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._ground: Ground | None = None
        self._stop: Callable[[], None] = lambda: None

    @property
    def workers(self) -> int:
        return self.options.workers or capacity()

    @property
    def least(self) -> int:
        return self.options.least

    def check(self, records: int) -> None:
        """
        Raises:
            BadInput: there are too few records for Ray to be worth its while.
        """
        if records < self.options.least:
            raise BadInput(
                f"for {records:,} records the local engine is quicker than Ray, which is meant for "
                f"{self.options.least:,} and more; type --engine local, or take Ray nevertheless with "
                "--set engine.least=0."
            )

    @contextmanager
    def working(self, folder: Path, sources: Sequence[Path]) -> Iterator[None]:
        """The cluster that the first batch starts, or that it joins, serves all stages of the run."""
        seen = tuple(str(source.resolve()) for source in sources if source.exists())
        self._ground = Ground(str(Path.cwd()), str(folder.resolve()), secrets.token_hex(8), seen)
        try:
            yield
        finally:
            stop, self._stop, self._ground = self._stop, lambda: None, None
            (folder / SIGN).unlink(missing_ok=True)
            stop()

    def results(self, stage: Stage[In], inputs: Sequence[In]) -> Iterator[tuple[Sequence[In], Results]]:
        """Batches with their results, in order. A stage that must see everything is left to this process."""
        if stage.batch is None:
            if stage.ahead and inputs:
                ahead = stage.ahead(inputs)
                made = self._mapped(stage, _Silent(ahead.run), ahead.parts)
                for _ in told(made, len(ahead.parts), f"preparing the stage {stage.name} on Ray"):
                    pass
            for batch in batches(inputs, None):
                yield batch, whole(stage.run, batch)
            return
        whole_ = _Whole(stage.run)
        divided = batches(inputs, stage.batch) if inputs else []
        yield from zip(divided, self._mapped(stage, whole_, divided), strict=True)

    def _mapped(self, stage: Stage[In], function: Callable[[Any], Any], parts: Sequence[Any]) -> Iterator[Any]:
        """What a function gives for each part, in order.

        Raises:
            ToolkitError: Ray gives up.
        """
        if not parts:
            return
        ray = self._started()
        try:
            for table in self._dataset(stage, function, parts).iter_batches(batch_size=None, batch_format="pyarrow"):
                for made in table["made"].to_pylist():
                    result = pickle.loads(made)
                    if isinstance(result, Exception):
                        raise result
                    yield result
        except (ray.exceptions.ActorDiedError, ray.exceptions.ActorUnavailableError) as error:
            raise ToolkitError(
                f"workers of the stage {stage.name} died again and again of the same inputs, perhaps because memory "
                "ran out; give them more of it with fewer workers (--set engine.workers=4), the stage resumes."
            ) from error
        except ray.exceptions.RayError as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise ToolkitError(
                f"Ray gave up the stage {stage.name} ({reason}); what is done is kept, and the same command resumes."
            ) from error

    def _dataset(self, stage: Stage[In], function: Callable[[Any], Any], parts: Sequence[Any]) -> Any:
        import ray.data

        cores, gpus = self._share(stage)
        count = min(len(parts), self._count(stage, cores, gpus))
        given = ray.data.from_items(
            [{"part": pickle.dumps(part)} for part in parts], override_num_blocks=min(len(parts), MOST_TASKS)
        )
        with warnings.catch_warnings(action="ignore"):  # of `max_task_retries`, which has no other place yet
            return given.map_batches(
                Worker,
                fn_constructor_args=(pickle.dumps(function), self._ground),
                batch_size=1,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=WAITING),
                num_cpus=cores,
                num_gpus=gpus,
                max_task_retries=RETRIES,
            )

    def _share(self, stage: Stage[In]) -> tuple[float, float]:
        """Cores and GPUs that each worker of a stage takes."""
        import ray

        if stage.needs in ("core", "server"):
            return (1, 0) if stage.needs == "core" else (0.1, 0)
        there = ray.cluster_resources().get("GPU", 0)
        usual = 1.0 if stage.needs == "gpu" else PART
        gpus = min(usual, there) if self.options.gpus is None else self.options.gpus
        if gpus > there:
            raise BadInput(
                f"engine.gpus={gpus:g} can't be had: the cluster has {there:g} GPUs; set fewer, or 0 for none."
            )
        return (0 if gpus and stage.needs == "gpu" else 1), gpus

    def _count(self, stage: Stage[In], cores: float, gpus: float) -> int:
        """How many workers a stage gets, of which each takes so many cores and GPUs."""
        import ray

        if self.options.workers:
            return self.options.workers
        if stage.needs == "server":
            return sum(node["Alive"] for node in ray.nodes())
        there = ray.cluster_resources()
        room = [there.get(kind, 0) / each for kind, each in (("CPU", cores), ("GPU", gpus)) if each]
        return max(1, int(min(room)))

    def _started(self) -> Any:
        """Ray, connected to the cluster."""
        assert self._ground, "an engine works within `working`"
        Path(self._ground.folder, SIGN).write_text(self._ground.token, encoding="ascii")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        import ray
        import ray.data

        if not ray.is_initialized():
            LOG.info("starting Ray" if not self.options.address else f"joining the Ray cluster {self.options.address}")
            self._stop = _begin(self.options.address, self.workers)
        spoken = logging.getLogger("ray.data")
        spoken.handlers = [handler for handler in spoken.handlers if handler.get_name() != "console"]
        ray._private.worker._worker_logs_enabled = False  # what it says of dead workers goes to the standard output
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        return ray


def make(options: dict[str, Any]) -> Ray:
    """
    Raises:
        BadInput: Ray is not installed, or the options are wrong.
    """
    extras.require("the engine 'ray'", "ray")
    return Ray(plugins.parse_options(Options, "the engine ray", options, "engine."))


def _begin(address: str, cores: int) -> Callable[[], None]:
    """Starts a cluster of this machine, or joins another; gives what ends it.

    Raises:
        BadInput: no cluster answers there.
    """
    import ray

    home = "" if address else _folder()
    handler = signal.getsignal(signal.SIGTERM)

    def stop() -> None:
        ray.shutdown()
        if home:
            shutil.rmtree(home, ignore_errors=True)

    own = {"num_cpus": cores, "object_store_memory": STORE, "include_dashboard": False, "_temp_dir": home}
    try:
        with _errors_hidden():
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else own))
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        stop()
        raise BadInput(f"{_why_none(error, address)}, or type --engine local.") from error
    except BaseException:
        stop()
        raise
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray has put its own in its place
    return stop


def _why_none(error: Exception, address: str) -> str:
    """Why there is no cluster, and the way on: one sentence but for its end."""
    causes: list[BaseException] = [error]
    while causes[-1].__cause__:
        causes.append(causes[-1].__cause__)
    # Ray has an exception for it, which comes only as text within another if it was the cluster that refused.
    if address and any("AuthenticationError" in f"{type(one).__name__} {one}" for one in causes):
        return (
            f"the Ray cluster at engine.address={address} asks for a token that this machine does not have; copy "
            "~/.ray/auth_token of the cluster's head to every machine and set RAY_AUTH_MODE=token on all of them"
        )
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    way = f"start one with 'ray start --head' and give its address, got engine.address={address}" if address else ""
    return f"no Ray cluster can be had ({reason}){f'; {way}' if way else ''}"


@contextmanager
def _errors_hidden() -> Iterator[None]:
    """Nothing reaches the standard error: Ray says there what its log level is, whatever it is."""
    shown = os.dup(2)
    hidden = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(hidden, 2)
        yield
    finally:
        os.dup2(shown, 2)
        os.close(hidden)
        os.close(shown)


def _folder() -> str:
    """A new folder for a cluster's logs and sockets; those of processes that were killed are removed."""
    usual = tempfile.gettempdir()
    home = Path("/tmp" if len(usual) > LONGEST_FOLDER and os.path.isdir("/tmp") else usual)
    for left in home.glob(f"{FOLDERS}*"):
        try:
            os.kill(int(left.name.removeprefix(FOLDERS).partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (OSError, ValueError):  # somebody else's
            continue
    return tempfile.mkdtemp(prefix=f"{FOLDERS}{os.getpid()}-", dir=home)


# ---- in a worker


@dataclass(frozen=True)
class Ground:
    """What a worker has to see as the engine sees it."""

    home: str
    """The folder that relative paths begin in."""
    folder: str
    """The run's, absolute."""
    token: str
    """What its file SIGN says."""
    sources: tuple[str, ...]
    """Files and folders, absolute."""

    def stand(self) -> None:
        """Goes to where the engine is.

        Raises:
            BadInput: this machine doesn't see the files.
        """
        with suppress(OSError):
            os.chdir(self.home)
        try:
            seen = Path(self.folder, SIGN).read_text(encoding="ascii") == self.token
        except (OSError, ValueError):
            seen = False
        lacking = [source for source in self.sources if not os.path.exists(source)]
        if not seen or lacking:
            raise BadInput(
                f"the worker on {socket.gethostname()} does not see {lacking[0] if seen else self.folder}; put run and "
                "sources on a file system that all machines mount at the same place, or type --engine local."
            )


@dataclass(frozen=True)
class _Whole:
    """A stage's function, with all its results for a batch."""

    function: Callable[[Sequence[Any]], Any]

    def __call__(self, batch: Sequence[Any]) -> Results:
        return whole(self.function, batch)


@dataclass(frozen=True)
class _Silent:
    """A function whose results nobody needs."""

    function: Callable[[Any], object]

    def __call__(self, part: Any) -> None:
        self.function(part)


class Worker:
    """What an actor of Ray's runs: a function, unpickled once, so that a model is loaded once."""

    def __init__(self, function: bytes, ground: Ground) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when such a package is imported
        self._pickled, self._ground = function, ground
        self._function: Callable[[Any], Any] | None = None

    def __call__(self, table: pa.Table) -> pa.Table:
        """What the function gives for the part in the table's only row, or the exception that it raised."""
        import pyarrow as pa

        (part,) = table["part"].to_pylist()
        return pa.table({"made": pa.array([self._made(part)], pa.large_binary())})

    def _made(self, part: bytes) -> bytes:
        import cv2

        try:
            if self._function is None:
                self._ground.stand()
                cv2.setNumThreads(1)  # a worker has one core; OpenCV does not know that
                self._function = pickle.loads(self._pickled)
            return pickle.dumps(self._function(pickle.loads(part)))
        except Exception as error:
            error.add_note(f"on {socket.gethostname()}:\n{traceback.format_exc()}")
            return _carried(error)


def _carried(error: Exception) -> bytes:
    """An exception that can travel; one that can't, as its text."""
    try:
        carried = pickle.dumps(error)
        pickle.loads(carried)
    except Exception:
        return pickle.dumps(RuntimeError("".join(traceback.format_exception(error))))
    return carried
