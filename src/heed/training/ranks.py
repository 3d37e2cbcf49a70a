"""Several processes that train one model: who is which, what goes between them, and what ends them.

    rank 0   text, run folder ─┬─ order ─ rows 0, N, 2N, ..  ─┬─ update ─ log, evaluate, save ─┬─ order ─ ..
    rank 1   waits ............┴─ order ─ rows 1, N+1, ..    ─┴─ update ─ waits ...............┴─ order ─ ..
                                                  one all-reduce of gradients and loss

The first rank is an ordinary training: it alone reads settings, talks, measures and writes. The others (`follow` in
fit.py) open the run folder that it begins, draw the same batches, and do what its orders say. A batch is that of
`train.batch_size`, however many ranks there are: rank r takes rows r, r + N, r + 2N, ... of it, which may be one row
fewer than others have, or none. The loss of a part is weighted by the targets that count in it, so that the sum over
the ranks is the mean over the whole batch. After the all-reduce all have the same bits, and make the same update.

Why not torch's DistributedDataParallel: its hooks hang on `forward`, and what heed calls is `loss`; it takes the mean
over ranks, where parts are unequal or empty; and it copies gradients to buffers as this does. It would hide
the exchange behind the backward pass, which helps on fast GPUs and not where processes share cores.

Processes of one machine are started here; those that torchrun starts, on several machines too, join by its variables.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from heed.config import Config, RunConfig
from heed.errors import ClusterError, ConfigError
from heed.text.stream import Batch
from heed.training.devices import take_device, threads_each, threads_kept

STARTED = "HEED_RANKS"
"""Set for ranks that were started here, beside the variables that torchrun sets."""
PATIENCE = timedelta(days=7)
"""How long a rank waits for another one: a dead one is seen at once, and the first may measure for hours."""
GRACE = 3.0
"""Seconds between the end of a rank and the end of the first by force, where it did not notice by itself."""
ANSWER = 500
"""Bytes of what a rank can say to all others."""
Order = dict[str, Any]


@dataclass
class Ranks:
    """This process among those that train one model; alone it exchanges nothing."""

    rank: int = 0
    size: int = 1
    local: int = 0
    """Its number on this machine."""
    on: Literal["cpu", "cuda"] | None = None
    """What all of them compute on; None: what `run.device` says."""
    folder: str | None = None
    """The run that is trained, once it has been begun."""
    lost: str | None = field(default=None, compare=False)
    """Which rank has ended before its time, and how."""

    # ------------------------------------------------------------------ orders of the first

    def tell(self, order: Order | None) -> None:
        """Tell the others what to do next, as JSON; None: no more."""
        if self.size == 1:
            return
        text = torch.frombuffer(bytearray(json.dumps(order).encode()), dtype=torch.uint8)
        self._broadcast(torch.tensor(len(text)))
        self._broadcast(text)

    def begin(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Tell the others which run they train."""
        self.folder = str(folder)
        self.tell({"folder": str(folder.resolve()), "on": self.on, "config": settings})

    def told(self) -> Order | None:
        """Wait for the next order of the first rank."""
        length = self._broadcast(torch.tensor(0))
        text = self._broadcast(torch.empty(int(length), dtype=torch.uint8))
        return json.loads(bytes(text.tolist()))

    def answers(self, own: str) -> list[str]:
        """Return what each rank says, cut to 500 bytes, on every rank."""
        said = own.encode()[:ANSWER].ljust(ANSWER)
        whole = torch.zeros(self.size, ANSWER, dtype=torch.uint8)
        whole[self.rank] = torch.frombuffer(bytearray(said), dtype=torch.uint8)
        if self.size > 1:
            self._sum(whole)
        return [bytes(row.tolist()).decode(errors="replace").rstrip() for row in whole]

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Put what the first rank holds into the tensors of all."""
        if self.size == 1:
            return
        for tensor in tensors:
            whole = self._broadcast(tensor.detach().contiguous())
            tensor.detach().copy_(whole)

    # ------------------------------------------------------------------ rows

    def part(self, batch: Any) -> Any:
        """Return this rank's rows of a batch: numpy arrays or tensors, none of them where there are too few."""
        if self.size == 1:
            return batch
        own = slice(self.rank, None, self.size)
        mask = None if batch.mask is None else batch.mask[own]
        return Batch(batch.source[own], batch.target[own], mask, getattr(batch, "continues", False))

    def deal(self, whole: Sequence[Tensor] | None, device: torch.device) -> list[Tensor] | None:
        """Return this rank's rows of what the first rank holds for all of them."""
        if self.size == 1:
            return None if whole is None else list(whole)
        if self.rank == 0:
            kinds = [[str(some.dtype).removeprefix("torch."), list(some.shape)] for some in whole or ()]
            self.tell({"rows": kinds})
            tensors = [some.contiguous() for some in whole or ()]
        else:
            kinds = (self.told() or {"rows": []})["rows"]
            tensors = [torch.empty(shape, dtype=getattr(torch, kind), device=device) for kind, shape in kinds]
        self.share(tensors)
        return [some[self.rank :: self.size].contiguous() for some in tensors] or None

    def collect(self, parts: Sequence[Tensor], rows: int) -> list[Tensor]:
        """Return the `rows` rows of all ranks in their order, the reverse of `deal`."""
        if self.size == 1:
            return list(parts)
        whole = [part.new_zeros(rows, *part.shape[1:]) for part in parts]
        for full, part in zip(whole, parts, strict=True):
            full[self.rank :: self.size] = part
            self._sum(full)
        return whole

    # ------------------------------------------------------------------ gradients

    def reduce(self, parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Add up the gradients of all ranks, and return the sum of their losses; one all-reduce.

        A parameter that has a gradient on no rank has none afterwards.
        """
        if self.size == 1:
            return loss
        gradients = [p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in parameters]
        found = loss.new_tensor([p.grad is not None for p in parameters])
        flat = torch.cat([*gradients, found, loss.reshape(1)])
        self._sum(flat)
        *gradients, found, total = flat.split([*map(len, gradients), len(found), 1])
        for parameter, gradient, times in zip(parameters, gradients, found.tolist(), strict=True):
            parameter.grad = gradient.view_as(parameter).to(parameter.dtype) if times else None
        return total[0]

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all ranks."""
        value = value.detach().clone()
        if self.size > 1:
            self._sum(value)
        return value

    # ------------------------------------------------------------------ parts of tensors

    def own(self, whole: Tensor) -> Tensor:
        """Return this rank's rows of a tensor, as torch deals them: ceil(rows / ranks) each, as far as they go."""
        each = -(-len(whole) // self.size)
        return whole[self.rank * each : (self.rank + 1) * each]

    def gather(self, part: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the tensor of `shape` of which each rank holds `own` rows; it is whole on every rank."""
        each = -(-shape[0] // self.size)
        filled = part.new_zeros(each, *shape[1:])
        filled[: len(part)] = part
        whole = part.new_empty(each * self.size, *shape[1:])
        with self.together():
            dist.all_gather(list(whole.split(each)), filled)
        return whole if len(whole) == shape[0] else whole[: shape[0]].clone()

    # ------------------------------------------------------------------ drift

    def refuse_drift(self, parameters: Iterable[Tensor]) -> None:
        """Raise `ClusterError` where the weights of a rank are not those of the first, bit for bit."""
        if self.size == 1:
            return
        digest = hashlib.sha256()
        for parameter in parameters:
            digest.update(parameter.detach().contiguous().view(-1).view(torch.uint8).cpu().numpy().data)
        found = torch.zeros(self.size, dtype=torch.int64)
        found[self.rank] = int.from_bytes(digest.digest()[:7], "big")
        self._sum(found)
        if odd := (found != found[0]).nonzero()[:, 0].tolist():
            raise ClusterError(
                f"rank {odd[0]} has other weights than rank 0, so nothing is saved: let all ranks compute on the same "
                f"kind of processor{self._then()}"
            )

    # ------------------------------------------------------------------ who is there

    def take_device(self, run: RunConfig, say: Callable[[str], object]) -> torch.device:
        """Take the threads and the device that a run asks for, and say it; of GPUs each rank takes its own.

        Raises `ConfigError` where there are too few, and where the command line asks for others than the settings.
        """
        if self.on is not None and run.device not in ("auto", self.on):
            flag = "--processes are of the CPU" if self.on == "cpu" else "--gpus are CUDA's"
            raise ConfigError(f"run.device: {run.device} is asked for, and {flag}: leave one of them out")
        if self.size > 1:
            say(f"ranks: {self.size} processes train together, each with its part of every batch")
        device = take_device(run.model_copy(update={"device": self.on or run.device}), say)
        if self.size == 1 or device.type == "cpu":
            return device
        if device.type != "cuda":
            raise ConfigError(f"run.device: several processes cannot share {device.type}: take run.device cpu")
        here = torch.cuda.device_count()
        if self.local >= here:
            raise ConfigError(f"run.device: rank {self.rank} needs a GPU of its own, and torch finds {here} here")
        torch.cuda.set_device(self.local)
        return torch.device("cuda", self.local)

    def refuse(self, config: Config) -> None:
        """Raise `ConfigError` for what several ranks cannot do."""
        size = config.train.batch_size
        if config.model.recurrent.carry and size != "auto" and size < self.size:
            raise ConfigError(
                f"train.batch_size: model.recurrent.carry keeps a state for each of {size} rows, and each of "
                f"{self.size} ranks needs a row: take fewer of them"
            )

    def facts(self) -> dict[str, int]:
        """Return what environment.json says of them: nothing of a single process."""
        return {} if self.size == 1 else {"ranks": self.size}

    # ------------------------------------------------------------------ torch's side

    def _broadcast(self, tensor: Tensor) -> Tensor:
        with self.together():
            dist.broadcast(tensor, 0)
        return tensor

    def _sum(self, tensor: Tensor) -> None:
        with self.together():
            dist.all_reduce(tensor)

    @contextmanager
    def together(self, *, computing: bool = False) -> Iterator[None]:
        """Say which rank is missing where an exchange fails; errors of what is computed in between stay as they are."""
        try:
            yield
        except RuntimeError as error:
            if computing and not _of_an_exchange(error):
                raise
            until = time.monotonic() + 1
            while self.lost is None and time.monotonic() < until:
                time.sleep(0.05)  # who watches them has not looked yet
            what = self.lost or f"rank {self.rank} of {self.size} has lost another one"
            raise ClusterError(f"{what}{self._then()}") from error

    def _then(self) -> str:
        """What to do next."""
        return f"; go on with: heed train --resume {self.folder}" if self.folder else "; nothing was trained yet"


ALONE = Ranks()
"""A process by itself."""


def torchrun_size() -> int:
    """Return how many processes torchrun, or whoever sets its variables, has started together; 1: none."""
    return int(os.environ["WORLD_SIZE"]) if "MASTER_ADDR" in os.environ and "WORLD_SIZE" in os.environ else 1


@contextmanager
def leading(processes: int = 1, on: Literal["cpu", "cuda"] = "cpu") -> Iterator[Ranks]:
    """Be the first rank: of those that torchrun has started, or of `processes` that are started here and end with it.

    Where one of these ends before its time, so does this process, with its name: within `GRACE` seconds by an error
    from the exchange that waits for it, or by force.
    """
    if torchrun_size() > 1:
        if processes > 1 or on == "cuda":
            raise ConfigError(f"torchrun has started {torchrun_size()} processes: leave out --processes and --gpus")
        ranks = Ranks(0, torchrun_size(), int(os.environ.get("LOCAL_RANK", "0")))
        with _joined(ranks, None):
            yield ranks
    elif on == "cuda" and torch.cuda.device_count() < processes:
        raise ConfigError(
            f"--gpus: {processes} are asked for, and torch finds {torch.cuda.device_count()} on this machine"
        )
    elif processes > 1:
        with _started(processes, on) as ranks:
            yield ranks
    else:
        yield Ranks(on="cuda") if on == "cuda" else ALONE


@contextmanager
def following() -> Iterator[Ranks]:
    """Be a rank that follows: signals are for the first, and where that is gone this process ends too."""
    number = {name: int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    ranks = Ranks(number["RANK"], number["WORLD_SIZE"], number["LOCAL_RANK"])
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    store = None
    if STARTED in os.environ:
        at = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(*at, is_master=False, timeout=PATIENCE)
    with _joined(ranks, store):
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)
        yield ranks


@contextmanager
def _joined(ranks: Ranks, store: Store | None) -> Iterator[None]:
    """Meet the other ranks."""
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    at: dict[str, Any] = {"rank": ranks.rank, "world_size": ranks.size, "timeout": PATIENCE}
    with ranks.together():
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", store=store, **at)
    yield
    dist.destroy_process_group()


@contextmanager
@threads_kept()
def _started(size: int, on: Literal["cpu", "cuda"]) -> Iterator[Ranks]:
    """Start the others on this machine, give the first rank, and end them with the block."""
    ranks, done = Ranks(0, size, on=on), threading.Event()
    threads = threads_each(size)
    torch.set_num_threads(threads)
    store = TCPStore("127.0.0.1", 0, size, is_master=True, wait_for_workers=False, timeout=PATIENCE)
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), STARTED: "1"}
    common |= {"OMP_NUM_THREADS": str(threads)}
    others = [_start(common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(1, size)]
    threading.Thread(target=_watch, args=[ranks, others, done], daemon=True).start()
    try:
        with _joined(ranks, store):
            yield ranks
            done.set()
            with suppress(subprocess.TimeoutExpired):
                for other in others:
                    other.wait(timeout=GRACE)
    finally:
        done.set()
        for other in others:
            other.kill()  # it holds nothing of its own
            other.wait()


def _start(variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a rank that follows, out of reach of the terminal's Ctrl-C."""
    command = [sys.executable, "-m", "heed", "train"]
    return subprocess.Popen(
        command, env={**os.environ, **variables}, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True
    )


def _watch(ranks: Ranks, others: Sequence[subprocess.Popen[bytes]], done: threading.Event) -> None:
    """Note which rank ends before its time; end this process where that does not end by itself then."""
    while not done.wait(0.1):
        for rank, other in enumerate(others, 1):
            if (code := other.poll()) in (None, 0):
                continue
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            ranks.lost = f"rank {rank} of {ranks.size} (process {other.pid}) {how}"
            if done.wait(GRACE):
                return
            print(f"heed: {ranks.lost}{ranks._then()}", file=sys.stderr, flush=True)
            for rest in others:
                rest.kill()
            os._exit(2)  # what is written is whole at any moment


def _of_an_exchange(error: RuntimeError) -> bool:
    """Whether an error is one of gloo's, NCCL's or torch's exchange, and not of what is computed in between."""
    if isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL", "Connection"))


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
