"""Optimizers by name, with decay groups, and their state by the name of each parameter.

Weight decay falls on matrices; vectors (biases, gains of norms) are never decayed. For sgd, decoupled decay and decay
added to the gradient are the same thing; for adam, momentum and adagrad it is added, as in their papers.

The updates are torch's fused kernels, one call for all parameters, and give the bits of `torch.optim`. The classes of
`torch.optim` themselves import the compiler (torch._dynamo, sympy) when the first one is made: 3.3 CPU seconds and
80 MB of memory before the first step, which a training that compiles nothing need not pay.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from heed.attention.mechanism import Mechanism
from heed.config import TrainConfig
from heed.errors import CheckpointError, ConfigError
from heed.training.muon import update_matrices

EPSILON = 1e-8
"""Added to Adam's root of the mean square."""
ADAGRAD_EPSILON = 1e-10
"""Added to Adagrad's root of the sum of squares."""
aten = torch.ops.aten


@dataclass
class Update:
    """What a rule is given: parameters that have a gradient, and what it keeps for each of them."""

    weights: list[Tensor]
    gradients: list[Tensor]
    kept: dict[str, list[Tensor]]
    plan: TrainConfig
    lr: float
    weight_decay: float
    skip: Tensor | None
    """A float32 scalar on the device: where it is 1, a fused kernel changes nothing."""


class Rule(ABC):
    """How an optimizer changes parameters."""

    keeps: tuple[str, ...] = ()
    """Names of the tensors kept for each parameter; `updates` is a scalar, the others have its shape."""
    fused: bool = True
    """Whether a step can be skipped on the device."""

    @abstractmethod
    def apply(self, update: Update) -> None:
        """Change the weights and what is kept for them, in place."""


class Adam(Rule):
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient.

    m <- β1 m + (1-β1) g;  v <- β2 v + (1-β2) g²;  w <- w - η m̂ / (sqrt(v̂) + ε), with m̂ and v̂ free of their bias.
    """

    keeps = ("mean", "square", "updates")
    kernel: Any = aten._fused_adam_

    def apply(self, update: Update) -> None:
        """One fused kernel; a skipped update is not counted."""
        aten._foreach_add_(update.kept["updates"], 1)
        if update.skip is not None:
            aten._foreach_sub_(update.kept["updates"], [update.skip] * len(update.weights))
        self.kernel(
            update.weights,
            update.gradients,
            update.kept["mean"],
            update.kept["square"],
            [],
            update.kept["updates"],
            lr=update.lr,
            beta1=update.plan.beta1,
            beta2=update.plan.beta2,
            weight_decay=update.weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
            found_inf=update.skip,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: w <- w - η λ w first (Loshchilov & Hutter 2019)."""

    kernel = aten._fused_adamw_


class SGD(Rule):
    """Stochastic gradient descent: w <- w - η (g + λ w)."""

    def apply(self, update: Update) -> None:
        """One fused kernel."""
        velocity = update.kept.get("velocity", [])
        aten._fused_sgd_(
            update.weights,
            update.gradients,
            velocity,
            lr=update.lr,
            momentum=update.plan.beta1 if velocity else 0.0,
            weight_decay=update.weight_decay,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
            found_inf=update.skip,
        )


class Momentum(SGD):
    """Gradient descent with momentum beta1 (Polyak 1964): u <- β1 u + g + λ w, w <- w - η u."""

    keeps = ("velocity",)


class Adagrad(Rule):
    """Adagrad (Duchi et al. 2011): s <- s + g², w <- w - η g / (sqrt(s) + ε); weight decay is added to the gradient."""

    keeps = ("squares",)
    fused = False

    def apply(self, update: Update) -> None:
        """Parameter by parameter: torch's fused kernel is for the CPU only."""
        for weight, gradient, squares in zip(update.weights, update.gradients, update.kept["squares"], strict=True):
            g = gradient.add(weight, alpha=update.weight_decay) if update.weight_decay else gradient
            squares.addcmul_(g, g)
            weight.addcdiv_(g, squares.sqrt().add_(ADAGRAD_EPSILON), value=-update.lr)


class Muon(Rule):
    """Muon on the matrices of the blocks (Jordan et al. 2024), adamw on embeddings, head and vectors."""

    keeps = ("momentum",)
    fused = False

    def apply(self, update: Update) -> None:
        """Do as the equations in muon.py."""
        half = update.weights[0].device.type == "cuda" or update.plan.precision == "bf16"
        update_matrices(
            update.weights, update.gradients, update.kept["momentum"], update.lr, update.weight_decay,
            torch.bfloat16 if half else torch.float32,
        )  # fmt: skip


OPTIMIZERS: dict[str, Rule] = {
    "adamw": AdamW(),
    "adam": Adam(),
    "sgd": SGD(),
    "momentum": Momentum(),
    "adagrad": Adagrad(),
    "muon": Muon(),
}
"""What `train.optimizer` can be. muon takes the matrices of the blocks only; the rest goes with adamw."""


@dataclass
class ParameterGroup:
    """Parameters that share a rule, a peak learning rate and a weight decay."""

    rule: Rule
    parameters: Mapping[str, Tensor]
    learning_rate: float
    weight_decay: float
    kept: dict[str, list[Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        def fresh(name: str, like: Tensor) -> Tensor:
            if name == "updates":
                return torch.zeros((), dtype=torch.float32, device=like.device)
            return torch.zeros_like(like, requires_grad=False)

        self.kept = {name: [fresh(name, p) for p in self.parameters.values()] for name in self.rule.keeps}


class Optimizer:
    """Groups of parameters under one schedule; what is kept for them goes by parameter name."""

    def __init__(self, groups: list[ParameterGroup], plan: TrainConfig) -> None:
        self.groups, self.plan = groups, plan
        self._skip: Tensor | None = None

    @torch.no_grad()
    def step(self, share: float) -> None:
        """Apply the gradients, every learning rate at `share` of its peak; parameters without a gradient stay."""
        for group in self.groups:
            weights = list(group.parameters.values())
            fused = group.rule.fused  # such a kernel takes no empty part; muon exchanges something for each
            ready = [n for n, weight in enumerate(weights) if weight.grad is not None and (weight.numel() or not fused)]
            if not ready:
                continue
            kept = {name: [tensors[index] for index in ready] for name, tensors in group.kept.items()}
            gradients: list[Any] = [weights[index].grad for index in ready]
            lr = group.learning_rate * share
            weights = [weights[index] for index in ready]
            group.rule.apply(Update(weights, gradients, kept, self.plan, lr, group.weight_decay, self._skip))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.groups:
            for parameter in group.parameters.values():
                parameter.grad = None

    @property
    def skips_on_device(self) -> bool:
        """Whether `skip_if` works: every rule is fused."""
        return all(group.rule.fused for group in self.groups)

    def skip_if(self, flag: Tensor) -> None:
        """Make the next steps do nothing while `flag` (a float32 scalar on the device) is 1, without waiting for it."""
        self._skip = flag

    def state(self) -> dict[str, Tensor]:
        """Return what is kept by `parameter name/key`, for a checkpoint. Tensors are not copied."""
        return {
            f"{name}/{key}": tensor
            for group in self.groups
            for key, tensors in group.kept.items()
            for name, tensor in zip(group.parameters, tensors, strict=True)
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore exactly what `state` returned. Raises `CheckpointError` when it is of other parameters."""
        own = self.state()
        odd = sorted(own.keys() ^ state.keys())
        odd += [name for name in own if name in state and own[name].shape != state[name].shape]
        if odd:
            raise CheckpointError(f"the optimizer state does not fit: {odd[0]} differs; is config.yaml the run's own?")
        for name, tensor in own.items():
            tensor.copy_(state[name])


def make_optimizer(
    model: nn.Module, plan: TrainConfig, parts: Mapping[str, Tensor] | None = None, muon: Rule | None = None
) -> Optimizer:
    """Make the optimizer of `plan` for the trainable parameters of `model`, or for what a rank holds of them: `parts`.

    `muon` updates matrices of which only a part is here. A tied weight counts once. Raises `ConfigError` when there is
    nothing to train, or no matrix for Muon.
    """
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}  # a tied weight by its first name
    names: dict[str, Tensor] = {name: p if parts is None else parts[name] for name, p in own.items()}
    if not names:
        raise ConfigError("the model has no parameter that can be trained: unfreeze one")
    groups: list[ParameterGroup] = []
    rule = OPTIMIZERS[plan.optimizer]
    if plan.optimizer == "muon":
        matrices = {name: names.pop(name) for name in block_matrices(model) if name in names}
        if not matrices:
            raise ConfigError("train.optimizer: muon needs matrices inside blocks, and this model has none; take adamw")
        groups.append(ParameterGroup(muon or rule, matrices, plan.muon_learning_rate, plan.weight_decay))
        rule = OPTIMIZERS["adamw"]
    matrices = {name: p for name, p in names.items() if p.ndim >= 2}
    vectors = {name: p for name, p in names.items() if p.ndim < 2}
    groups.append(ParameterGroup(rule, matrices, plan.learning_rate, plan.weight_decay))
    groups.append(ParameterGroup(rule, vectors, plan.learning_rate, 0.0))
    return Optimizer([group for group in groups if group.parameters], plan)


def block_matrices(model: nn.Module) -> Iterable[str]:
    """Return the names of the matrices inside numbered blocks (`blocks.0.mlp.up.weight`).

    Embeddings are excepted, and what belongs to an attention mechanism: its tables are no maps from vectors to vectors.
    """
    tables = (nn.Embedding, Mechanism)
    others = {id(p) for module in model.modules() if isinstance(module, tables) for p in module.parameters()}
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and id(parameter) not in others and any(part.isdigit() for part in name.split("."))
    ]
