"""The logit lens: what the model would say if it stopped after a layer (nostalgebraist 2020).

    logits_l = W norm(x_l)       x_0: the embeddings, x_l: the residual stream after layer l

The last norm and the output matrix are those of the whole model, so the last layer says what the model says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from heed.explore.ablation import AT_ONCE, LossText
from heed.explore.subject import Subject

TOP = 5


@dataclass(frozen=True)
class Lens:
    """What each layer says after each token of a text; L + 1 layers, the embeddings first."""

    top: np.ndarray
    """(L + 1, T, 5) ids, the likeliest first."""
    log_p: np.ndarray
    """(L + 1, T, 5) float32, their log-probabilities in nats."""
    nats: np.ndarray
    """(L + 1, T - 1) float32: the loss of the token that does follow."""


def look(subject: Subject, residuals: Sequence[Tensor], ids: Sequence[int]) -> Lens:
    """Return what each layer says of a text of T tokens whose residual streams (T, D) are given."""
    follows = torch.tensor(list(ids[1:]), dtype=torch.int64)
    top, log_p, nats = [], [], []
    for x in residuals:
        said = subject.lens(x).float().log_softmax(dim=-1).cpu()  # (T, V)
        best = said.topk(min(TOP, said.shape[-1]), dim=-1)
        top.append(best.indices.numpy().astype(np.int32))
        log_p.append(best.values.numpy())
        nats.append(-said[:-1].gather(1, follows[:, None])[:, 0].numpy())
    return Lens(np.stack(top), np.stack(log_p), np.stack(nats))


def lens_nats(subject: Subject, text: LossText) -> np.ndarray:
    """Return the mean loss of each window after each layer, nats a token: (L + 1, N)."""
    step = max(1, AT_ONCE // text.source.shape[1])
    found = []
    for i in range(0, len(text.windows), step):
        target = torch.from_numpy(text.target[i : i + step])[..., None]
        said = (subject.lens(x).float().log_softmax(dim=-1).cpu() for x in subject.residuals(text.source[i : i + step]))
        found.append(np.stack([-log_p.gather(-1, target)[..., 0].double().mean(dim=1).numpy() for log_p in said]))
    return np.concatenate(found, axis=1)
