"""Optimizers by name, with decay groups, and their state by the name of each parameter.

    adamw      Loshchilov & Hutter 2019: Adam, the decay taken from the weight itself (decoupled)
    adam       Kingma & Ba 2015, the decay added to the gradient
    sgd        plain stochastic gradient descent
    momentum   Polyak's heavy ball, momentum beta1, not Nesterov's
    adagrad    Duchi et al. 2011
    muon       Jordan et al. 2024 on the matrices of the blocks, adamw on embeddings, head and vectors

Weight decay falls on matrices; vectors (biases, gains of norms) are never decayed. For sgd, decoupled decay and decay
added to the gradient are the same thing; for adam, momentum and adagrad it is added, as in their papers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from heed.config import TrainConfig
from heed.errors import CheckpointError, ConfigError
from heed.training.muon import Muon

Groups = list[dict[str, Any]]


def _adamw(groups: Groups, plan: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(plan.beta1, plan.beta2), fused=fused)


def _adam(groups: Groups, plan: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=plan.learning_rate, betas=(plan.beta1, plan.beta2), fused=fused)


def _sgd(groups: Groups, plan: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=plan.learning_rate, fused=fused)


def _momentum(groups: Groups, plan: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.beta1, fused=fused)


def _adagrad(groups: Groups, plan: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    # torch has a fused Adagrad for the CPU only
    on_cpu = all(parameter.device.type == "cpu" for group in groups for parameter in group["params"])
    return torch.optim.Adagrad(groups, lr=plan.learning_rate, fused=fused and on_cpu)


OPTIMIZERS: dict[str, Callable[[Groups, TrainConfig, bool], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
    "momentum": _momentum,
    "adagrad": _adagrad,
    "muon": _adamw,  # for what Muon is not for; `make_optimizer` puts Muon itself beside it
}
"""What `train.optimizer` can be: how the torch optimizer is made from groups with their weight decay."""


class Optimizer:
    """One or two torch optimizers under one schedule; their state goes by parameter name."""

    def __init__(self, parts: list[torch.optim.Optimizer], names: Mapping[Tensor, str]) -> None:
        self.parts = parts
        self._names = dict(names)
        self._peaks = [[group["lr"] for group in part.param_groups] for part in parts]

    def set_share(self, share: float) -> None:
        """Set every learning rate to `share` of its peak."""
        for part, peaks in zip(self.parts, self._peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * share

    def step(self) -> None:
        """Apply the gradients."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    @property
    def skips_on_device(self) -> bool:
        """Whether `skip_if` works: every part has a fused step."""
        return all(group.get("fused") for part in self.parts for group in part.param_groups)

    def skip_if(self, flag: Tensor) -> None:
        """Make the next steps do nothing while `flag` (a float32 scalar on the device) is 1, without waiting for it.

        This is the mark that torch's GradScaler sets; fused steps read it on the device.
        """
        for part in self.parts:
            part.grad_scale, part.found_inf = None, flag  # pyright: ignore[reportAttributeAccessIssue]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return (tensors, scalars) by `parameter name/key`, for a checkpoint. Tensors are not copied."""
        tensors: dict[str, Tensor] = {}
        scalars: dict[str, Any] = {}
        for part in self.parts:
            for parameter, state in part.state.items():
                for key, value in state.items():
                    place = tensors if isinstance(value, Tensor) else scalars
                    place[f"{self._names[parameter]}/{key}"] = value
        return tensors, scalars

    def load_state(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Restore exactly what `state` returned. Raises `CheckpointError` when it is of other parameters."""
        by_name: dict[str, dict[str, Any]] = {}
        for place, value in (*tensors.items(), *scalars.items()):
            name, _, key = place.rpartition("/")
            by_name.setdefault(name, {})[key] = value.clone() if isinstance(value, Tensor) else value
        known = set(self._names.values())
        strange = sorted(set(by_name) - known)
        if strange:
            raise CheckpointError(
                f"the optimizer state is of another model: it has {strange[0]!r}, which this one lacks"
            )
        for part in self.parts:
            names = [self._names[parameter] for group in part.param_groups for parameter in group["params"]]
            fresh = part.state_dict()
            fresh["state"] = {index: by_name[name] for index, name in enumerate(names) if name in by_name}
            for name, state in ((names[index], state) for index, state in fresh["state"].items()):
                self._check_shapes(name, state)
            part.load_state_dict(fresh)

    def _check_shapes(self, name: str, state: Mapping[str, Any]) -> None:
        shape = next(parameter.shape for parameter, other in self._names.items() if other == name)
        for key, value in state.items():
            if isinstance(value, Tensor) and value.ndim and value.shape != shape:
                raise CheckpointError(
                    f"the optimizer state {name}/{key} is {tuple(value.shape)}, the parameter {tuple(shape)}: "
                    "the checkpoint is of another model"
                )


def make_optimizer(model: nn.Module, plan: TrainConfig) -> Optimizer:
    """Make the optimizer of `plan` for the trainable parameters of `model`, fused where torch can.

    A tied weight counts once. Raises `ConfigError` when there is nothing to train, or no matrix for Muon.
    """
    # named_parameters gives a tied weight once, by its first name
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters() if p.requires_grad}
    if not names:
        raise ConfigError("the model has no parameter that can be trained: unfreeze one")
    for_muon = [p for p in block_matrices(model) if p in names] if plan.optimizer == "muon" else []
    if plan.optimizer == "muon" and not for_muon:
        raise ConfigError("train.optimizer: muon needs matrices inside blocks, and this model has none; take adamw")
    chosen = set(for_muon)
    parts = []
    rest = decay_groups([p for p in names if p not in chosen], plan.weight_decay)
    if rest:
        parts.append(OPTIMIZERS[plan.optimizer](rest, plan, _can_fuse(names)))
    if for_muon:
        parts.append(Muon(for_muon, lr=plan.muon_learning_rate, weight_decay=plan.weight_decay))
    return Optimizer(parts, names)


def decay_groups(parameters: Iterable[Tensor], weight_decay: float) -> Groups:
    """Split parameters into matrices (2 axes or more), which decay, and vectors, which do not; no group is empty."""
    every = list(parameters)
    matrices, vectors = [p for p in every if p.ndim >= 2], [p for p in every if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def block_matrices(model: nn.Module) -> list[Tensor]:
    """Return the matrices inside numbered blocks (a name such as `blocks.0.mlp.up.weight`), embeddings excepted."""
    embeddings = {p for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and parameter not in embeddings and any(part.isdigit() for part in name.split("."))
    ]


def _can_fuse(parameters: Iterable[Tensor]) -> bool:
    """Whether torch has one kernel for a whole step: floating parameters on a CPU or an accelerator."""
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda", "mps", "xpu") for p in parameters)
