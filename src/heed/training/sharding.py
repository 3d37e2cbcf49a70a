"""What a rank holds of the model that several train: all of it, or with `train.shard` a part of every tensor.

    Replica   every rank has all weights, all gradients, and all of what the optimizer keeps
    Sharded   rank r of N has rows r c .. (r + 1) c - 1 of each of them, c = ceil(rows / N)

    Sharded, an update:   gather a block's weights ─> its forward pass ─> let them go ─> ... the same backward ─>
                          add up the block's gradients, each rank keeping its rows ─> norm over all ranks ─> own rows

What is learned from stays whole: each rank reads its rows of a batch (see `ranks.py`), and the loss of a part is
weighted so that sums over the ranks are means over the batch. The gathering is torch's FSDP2 (`fully_shard`: Zhao et
al. 2023, arXiv:2304.11277; the state in parts is ZeRO: Rajbhandari et al. 2020, arXiv:1910.02054), a unit for each
`Block` and one for the rest. The model that `fit` was given is no part of it: it stands empty, and only the first
rank fills it, when it measures, tensor by tensor. Each rank writes its own rows of a checkpoint (see `checkpoint.py`).

A rank without a row still takes part in every exchange: it computes a row of another one and counts it for nothing.
With `train.accumulation` the gradients of each pass are added up at once. To wait for the last pass would spare a third
of what is exchanged (the weights are gathered for each pass anyway) and keep a whole gradient on each rank.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from heed.errors import why
from heed.models.block import Block
from heed.training.checkpoint import part_names, write_part
from heed.training.heap import give_back_at_once
from heed.training.muon import update_in_parts
from heed.training.optim import Muon, Optimizer, Rule, Update
from heed.training.ranks import Ranks


class Replica:
    """The whole model, on every rank: what is trained, measured and saved is one and the same."""

    in_parts = False
    """Whether each rank holds a part only."""
    whole = True
    """Whether the model holds the weights of now; where not, `collect` puts them there."""
    muon: Rule | None = None
    """What updates the matrices under muon, where that is not `optim.Muon`."""

    def __init__(self, model: nn.Module, ranks: Ranks, device: torch.device) -> None:
        self.model, self.ranks, self.device = model, ranks, device
        self.learner = model.to(device)
        """What computes the loss."""
        self.parameters: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
        """What the optimizer changes, by the names of the model."""

    def exchanging(self) -> AbstractContextManager[None]:
        """Say which rank is missing, around a pass that exchanges something."""
        return nullcontext()

    def reduce(self, loss: Tensor) -> Tensor:
        """Add up gradients and losses of all ranks after the backward passes; return the loss."""
        return self.ranks.reduce(list(self.parameters.values()), loss)

    def norm(self) -> Tensor:
        """Return the norm of the whole gradient."""
        return nn.utils.get_total_norm([p.grad for p in self.parameters.values() if p.grad is not None])

    def load(self, optimizer: Optimizer, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave, on the first rank; `meet` gives it to the others."""
        optimizer.load_state(state)

    def meet(self, optimizer: Optimizer) -> None:
        """Give every rank the weights and the optimizer's state of the first one; all ranks call it together."""
        self.ranks.share([*self.model.state_dict().values(), *optimizer.state().values()])

    def collect(self) -> None:
        """Put the weights into the model of the first rank; all ranks call it together."""

    def let_go(self) -> None:
        """Give back what `collect` took."""

    def refuse_drift(self) -> None:
        """Raise `ClusterError` where a rank holds other weights than the first; all ranks call it together."""
        self.ranks.refuse_drift(self.parameters.values())

    def finite(self) -> bool:
        """Whether no weight is NaN or infinite."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.model.parameters())

    def go_on_plain(self) -> None:
        """Forget a pass that ended in the middle, and what was compiled for it."""


class Sharded(Replica):
    """A part of every tensor; see the head of the file. Imports torch's FSDP: three seconds."""

    in_parts = True

    def __init__(self, model: nn.Module, ranks: Ranks, device: torch.device) -> None:
        self.model, self.ranks, self.device = model, ranks, device
        if device.type == "cpu":
            give_back_at_once()
        self.learner = _in_parts(model, ranks, device).train()
        pieces: dict[str, Any] = dict(self.learner.named_parameters())
        self.parts: dict[str, Tensor] = {name: piece.to_local().detach() for name, piece in pieces.items()}
        """This rank's rows of every weight, frozen ones too."""
        self.shapes = {name: piece.shape for name, piece in pieces.items()}
        self.trained = {name: piece for name, piece in pieces.items() if piece.requires_grad}
        self.parameters = {name: self.parts[name] for name in self.trained}
        self.muon = _MuonInParts(ranks, {id(part): self.shapes[name] for name, part in self.parts.items()})
        self.saved: Mapping[str, Tensor] = {}
        self.whole = ranks.rank == 0
        if ranks.rank == 0:
            model.to(device)
        else:
            self.let_go()

    def exchanging(self) -> AbstractContextManager[None]:
        """Say which rank is missing, around a pass that exchanges something."""
        return self.ranks.together(computing=True)

    def reduce(self, loss: Tensor) -> Tensor:
        """Hand the gradients, which FSDP has added up, to what the optimizer changes; return the loss of all ranks."""
        for name, piece in self.trained.items():
            gradient: Any = piece.grad
            self.parameters[name].grad, piece.grad = None if gradient is None else gradient.to_local(), None
        return self.ranks.total(loss)

    def norm(self) -> Tensor:
        """Return the norm of the whole gradient: sqrt of the sum over ranks of the squares of theirs."""
        own = super().norm().to(self.device)
        return self.ranks.total(own.double().square()).sqrt().to(own.dtype)

    def load(self, optimizer: Optimizer, state: Mapping[str, Tensor]) -> None:
        """Keep a state for `meet` to deal out, once it is found to fit."""
        optimizer.load_state({name: self._own(tensor) for name, tensor in state.items()})
        self.saved = state

    @torch.no_grad()
    def meet(self, optimizer: Optimizer) -> None:
        """Give every rank its rows of what the first one holds, tensor by tensor."""
        whole = dict(self.model.named_parameters())
        for name, part in self.parts.items():
            part.copy_(self._own(self._dealt(whole[name], self.shapes[name], part)))
        for key, part in optimizer.state().items():
            shape = self.shapes[key.rpartition("/")[0]] if part.ndim else part.shape
            part.copy_(self._own(self._dealt(self.saved.get(key), shape, part)))
        self.saved = {}
        self._buffers(self.model, self.learner)
        self.ranks.share(self.learner.buffers())

    @torch.no_grad()
    def collect(self) -> None:
        """Put the weights into the model of the first rank, a tensor at a time on the others."""
        whole = dict(self.model.named_parameters())
        for name, part in self.parts.items():
            gathered = self.ranks.gather(part, self.shapes[name])
            if self.ranks.rank == 0:
                whole[name].data = gathered
        self._buffers(self.learner, self.model)
        self.whole = self.ranks.rank == 0

    def let_go(self) -> None:
        """Give the memory of the model back; it is whole again after `collect`."""
        for parameter in self.model.parameters():
            parameter.data = parameter.data.new_empty(0)
        self.whole = False

    def refuse_drift(self) -> None:
        """Nothing: each weight is on one rank."""

    def finite(self) -> bool:
        """Whether no weight of any rank is NaN or infinite; all ranks call it together."""
        bad = torch.tensor([not torch.isfinite(part).all() for part in self.parts.values()])
        return not bool(self.ranks.total(bad.any().to(self.device, torch.float32)))

    def write(self, optimizer: Optimizer, folder: Path, more: Mapping[str, Tensor]) -> list[str]:
        """Write this rank's part of a checkpoint, the first rank `more` too; return the SHA-256 of each part.

        All ranks call it together. Raises `OSError` on the first one where a rank cannot write.
        """
        tensors = {f"model/{name}": part for name, part in self.parts.items()}
        kept = {f"optimizer/{key}": part for key, part in optimizer.state().items()}
        if self.ranks.rank == 0:
            stays = self.model.state_dict().keys()  # not every buffer is a part of the model
            tensors |= {f"model/{name}": one for name, one in self.learner.named_buffers() if name in stays}
            tensors |= kept | dict(more)
        else:
            tensors |= {key: part for key, part in kept.items() if part.ndim}
        try:
            said = write_part(folder / part_names(self.ranks.size)[self.ranks.rank], tensors)
        except OSError as error:
            said = f"rank {self.ranks.rank} cannot: {why(error)}"
        answers = self.ranks.answers(said)
        if self.ranks.rank == 0 and (failed := [answer for answer in answers if " " in answer]):
            raise OSError(failed[0])
        return answers

    @property
    def shared(self) -> dict[str, str]:
        """The other names of tensors that have several, and the first name of each."""
        every = [(name, id(p)) for name, p in self.model.named_parameters(remove_duplicate=False)]
        first = {number: name for name, number in reversed(every)}
        return {name: first[number] for name, number in every if first[number] != name}

    def compile(self) -> None:
        """Let torch compile each block: a loss with gathering in it cannot be compiled as a whole."""
        for block in _blocks(self.learner):
            block.compile()

    def go_on_plain(self) -> None:
        """Forget a pass that ended in the middle, and what was compiled for it."""
        for block in _blocks(self.learner):
            block._compiled_call_impl = None
        learner: Any = self.learner
        learner.reset_iter_state()
        for piece in self.trained.values():
            piece.grad = None

    def _own(self, whole: Tensor) -> Tensor:
        return self.ranks.own(whole) if whole.ndim else whole

    def _dealt(self, first: Tensor | None, shape: torch.Size, like: Tensor) -> Tensor:
        """Return on every rank what the first one gives, zeros where it gives nothing."""
        here = like.new_zeros(shape) if first is None or self.ranks.rank else first.detach().to(self.device)
        self.ranks.share([here])
        return here

    @staticmethod
    def _buffers(source: nn.Module, target: nn.Module) -> None:
        for ours, theirs in zip(target.buffers(), source.buffers(), strict=True):
            ours.copy_(theirs)


class _MuonInParts(Muon):
    """Muon on rows of matrices: each is put together for its update, one at a time."""

    def __init__(self, ranks: Ranks, shapes: Mapping[int, torch.Size]) -> None:
        self.ranks, self.shapes = ranks, shapes

    def apply(self, update: Update) -> None:
        """Do as the equations in muon.py."""
        for weight, gradient, momentum in zip(update.weights, update.gradients, update.kept["momentum"], strict=True):
            shape = self.shapes[id(weight)]
            gather = lambda part, shape=shape: self.ranks.gather(part, shape)
            update_in_parts(weight, gradient, momentum, update.lr, update.weight_decay, gather, self.ranks.own)


def hold(model: nn.Module, shard: bool, ranks: Ranks, device: torch.device) -> Replica:
    """Return what this rank holds of a model: with `shard` a part, where there are others that hold the rest."""
    return (Sharded if shard and ranks.size > 1 else Replica)(model, ranks, device)


def _in_parts(model: nn.Module, ranks: Ranks, device: torch.device) -> nn.Module:
    """Return a copy of the model in parts, whose weights are not set; at no moment is it there as a whole."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    empty: Any = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in model.parameters()
    }
    learner = copy.deepcopy(model, empty)
    mesh = init_device_mesh(device.type, (ranks.size,))
    for part in [*_blocks(learner), learner]:
        fully_shard(part, mesh=mesh)
    register_fsdp_forward_method(learner, "loss")
    learner.to_empty(device=device)
    for ours, theirs in zip(learner.buffers(), model.buffers(), strict=True):  # these had been set
        ours.copy_(theirs)
    for part in learner.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)  # the losses are weighted: their sum is wanted
            part.set_force_sum_reduction_for_comms(True)
            part.unshard()  # so that FSDP has made its last copies before anybody holds on to its tensors
            part.reshard()
    return learner


def _blocks(model: nn.Module) -> list[Block]:
    return [part for part in model.modules() if isinstance(part, Block)]
