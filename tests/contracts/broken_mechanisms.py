"""Mechanisms that are wrong on purpose, each in one of the ways that published code is wrong."""

from dataclasses import replace

import torch

from heed.attention import Facts, Mechanism, Softmax, StateCache, steps


class Honest(Mechanism):
    """The running mean of the values times a gate of the query, decoded from sums: right in every way."""

    facts = Facts(
        equation="sigmoid(q) * mean of v", source="nobody", causal="exact", differentiable="all",
        masks=frozenset({"causal", "padding"}), positions=frozenset({"learned"}), time="T D", memory="T D",
        growth=(1, 1), cache="state", grouped=False, weights=False, scores=frozenset(), inputs="qv",
    )  # fmt: skip

    def __init__(self, shape, *, path="auto", dropout=0.0, score=None):
        super().__init__(shape, path=path, dropout=dropout, score=score)
        self.gain = torch.nn.Parameter(torch.empty(shape.n_heads, 1, 1))

    def initialise(self, generator):
        with torch.no_grad():
            self.gain.copy_(torch.empty(self.gain.shape).normal_(1.0, 0.1, generator=generator))

    def forward(self, q, k, v, mask, bias=None):
        real = torch.ones(v.shape[0], v.shape[2], device=v.device) if mask.padding is None else mask.padding
        real = real[:, None, :, None].to(v.dtype)
        total, count = v * real, real
        if mask.causal:
            total, count = total.cumsum(2), count.cumsum(2)
        else:
            total, count = total.sum(2, keepdim=True), count.sum(2, keepdim=True)
        y = self.gain.to(v.dtype) * torch.sigmoid(q) * total / count.clamp(min=1)
        return self.after(y, q, v, mask)

    def after(self, y, q, v, mask):
        return y

    def new_cache(self, batch, length, dtype, device):
        size = (batch, self.shape.kv_heads, 1)
        total = torch.zeros(*size, self.shape.width, dtype=dtype, device=device)
        return StateCache([total, torch.zeros(*size, 1, dtype=dtype, device=device)])

    def extend(self, q, k, v, mask, state):
        T = v.shape[2]
        real = torch.ones(v.shape[0], T) if mask.padding is None else mask.padding[:, -T:]
        real = real[:, None, :, None].to(v.dtype)
        total, count = state.sums[0] + (v * real).cumsum(2), state.sums[1] + real.cumsum(2)
        self.remember(state, total, count)
        state.used += T
        return self.gain.to(v.dtype) * torch.sigmoid(q) * total / count.clamp(min=1)

    def remember(self, state, total, count):
        state.sums = [total[:, :, -1:], count[:, :, -1:]]

    def flops(self, T):
        return 4 * self.shape.d_model


class LeakByMaximum(Honest):
    """Divides by a maximum over the whole sequence, and by a small number beside it."""

    def after(self, y, q, v, mask):
        return y * torch.exp(-1e-6 * v.amax(2, keepdim=True).clamp(max=10.0))


class LeakWhileTraining(Honest):
    """Adds a mean over the whole sequence in training mode alone."""

    def after(self, y, q, v, mask):
        return y + 1e-3 * v.mean(2, keepdim=True) if self.training else y


class LeakByNan(Honest):
    """exp without a bound: 0 times infinity."""

    def after(self, y, q, v, mask):
        return y + 0 * torch.exp(v.sum(2, keepdim=True).abs())


class IgnoredPadding(Softmax):
    """Takes padding for text."""

    def forward(self, q, k, v, mask, bias=None):
        allowed = steps.causal_mask(mask.T, mask.S) if mask.causal else None
        return steps.attend(q, steps.share_heads(k, 4), steps.share_heads(v, 4), allowed)


class FloatInside(Honest):
    """Computes in float32 whatever it is given."""

    def after(self, y, q, v, mask):
        return y.float().to(y.dtype)


class GlobalGenerator(Honest):
    """Draws its parameters from torch's global generator."""

    def initialise(self, generator):
        with torch.no_grad():
            self.gain.normal_()


class Unset(Honest):
    """Leaves a parameter unset."""

    def __init__(self, shape, *, path="auto", dropout=0.0, score=None):
        super().__init__(shape, path=path, dropout=dropout, score=score)
        self.shift = torch.nn.Parameter(torch.empty(1))

    def after(self, y, q, v, mask):
        return y + self.shift


class StaleCache(Honest):
    """Decodes from sums that miss the last token."""

    def remember(self, state, total, count):
        if total.shape[2] > 1:
            state.sums = [total[:, :, -2:-1], count[:, :, -2:-1]]


class WrongGradient(Honest):
    """The right values with half the gradient."""

    def after(self, y, q, v, mask):
        return 0.5 * y + 0.5 * y.detach()


class DeadParameter(Unset):
    """Fills a parameter that nothing reads."""

    def initialise(self, generator):
        super().initialise(generator)
        with torch.no_grad():
            self.shift.zero_()

    def after(self, y, q, v, mask):
        return y


class BatchMixing(Honest):
    """Subtracts the mean over the batch."""

    def after(self, y, q, v, mask):
        return y - 1e-3 * y.mean(0, keepdim=True)


class RandomEvaluation(Honest):
    """Adds noise while evaluating."""

    def after(self, y, q, v, mask):
        return y + 1e-3 * torch.randn_like(y)


class AlwaysDropout(Softmax):
    """Forgets that dropout is for training."""

    def forward(self, q, k, v, mask, bias=None):
        return torch.dropout(super().forward(q, k, v, mask, bias), self.dropout, train=True)


class NoDropout(Softmax):
    """Takes a rate of dropout and does nothing with it."""

    def forward(self, q, k, v, mask, bias=None):
        self.dropout = 0.0
        return super().forward(q, k, v, mask, bias)


class WrongType(Honest):
    """Gives float64 whatever it is given."""

    def after(self, y, q, v, mask):
        return y.double()


class WrongGroups(Softmax):
    """Gives query head h the key head h modulo their number."""

    def forward(self, q, k, v, mask, bias=None):
        times = q.shape[1] // k.shape[1]
        return super().forward(q, k.repeat(1, times, 1, 1), v.repeat(1, times, 1, 1), mask, bias)


class Unscaled(Softmax):
    """The fast path forgets the square root of the width."""

    def forward(self, q, k, v, mask, bias=None):
        return super().forward(q if self.path == "reference" else 2 * q, k, v, mask, bias)


class IgnoredScore(Softmax):
    """The fast path takes no notice of the score."""

    def forward(self, q, k, v, mask, bias=None):
        if self.path != "reference":
            self.score = None
        return super().forward(q, k, v, mask, bias)


class IgnoredWindow(Softmax):
    """Sees farther than the window."""

    def forward(self, q, k, v, mask, bias=None):
        return super().forward(q, k, v, mask if mask.window is None else replace(mask, allowed=None), bias)


class Undeclared(Honest):
    """Has an option that nobody can read about."""

    def __init__(self, shape, *, features=3, path="auto", dropout=0.0, score=None):
        super().__init__(shape, path=path, dropout=dropout, score=score)


class ClaimsToLeak(Softmax):
    """Is causal and says that it leaks."""

    facts = replace(Softmax.facts, causal="leaks")


class ClaimsFixedLength(Softmax):
    """Reads any length and says that it cannot."""

    facts = replace(Softmax.facts, lengths="fixed")


class NoFlops(Honest):
    """Costs nothing."""

    def flops(self, T):
        return 0


class OneForAll(Honest):
    """Gives one mean for all queries where no mask tells them apart."""

    def after(self, y, q, v, mask):
        return y if mask.causal else y[:, :, :1]


class Forgetful(Honest):
    """Keeps something that the state dictionary does not carry."""

    def initialise(self, generator):
        super().initialise(generator)
        self.secret = float(torch.rand((), generator=generator))

    def after(self, y, q, v, mask):
        return y * self.secret


BROKEN = {
    LeakByMaximum: "future", LeakWhileTraining: "future", LeakByNan: "future",
    IgnoredPadding: "padding", FloatInside: "gradients",
    GlobalGenerator: "initialisation", Unset: "initialisation", StaleCache: "cache", WrongGradient: "gradients",
    DeadParameter: "gradients", BatchMixing: "rows", RandomEvaluation: "evaluation", AlwaysDropout: "dropout",
    NoDropout: "dropout", WrongType: "dtype", WrongGroups: "groups", Unscaled: "paths", IgnoredScore: "scores",
    IgnoredWindow: "window", Undeclared: "declaration", ClaimsToLeak: "future", ClaimsFixedLength: "lengths",
    NoFlops: "flops", OneForAll: "paths", Forgetful: "seeds",
}  # fmt: skip
"""Broken mechanism -> the contract that must catch it."""
