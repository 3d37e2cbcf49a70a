"""Where the memory of a step of tuning goes: weights, gradients, optimizer, activations; forward and backward alone.

Weights and the optimizer's state are there before a step. What a step holds beside them is measured from every
allocation of it (see `heed.training.peak`), on the largest batch of the training texts, and the parts are what is alive
at the moment of the peak. Where all weights learn that is near the end of the forward pass, when hardly a gradient
exists; where few do, in the backward pass. So the gradients of the peak are not all gradients, and these are told, too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from heed.config.tuning import TuneConfig
from heed.training.peak import peak_bytes, step_peak
from heed.training.step import Updater, bytes_of_copies, to_device
from heed.training.streams import Streams
from heed.tuning.methods import frozen_features
from heed.tuning.model import Tuned
from heed.tuning.texts import EncodedTexts, longest_batch


def measure_memory(tuned: Tuned, config: TuneConfig, texts: EncodedTexts, device: torch.device) -> dict[str, Any]:
    """Return the bytes of a training step on the largest batch of `texts`, in parts, and the peaks of its two halves.

    `forward_peak` is beyond weights and optimizer state, `backward_peak` beyond all that is held when backward begins.

    The weights are updated by it: give a model of its own. Raises `HeedError` when it does not fit.
    """
    size = config.train.batch_size
    assert size != "auto"
    batch = longest_batch(texts, size, tuned.shape.d_model if frozen_features(config.method.name) else None)
    tuned.to(device).train()
    updater = Updater(tuned, config.train, device, Streams(config.run.seed), lambda line: None)
    updater.update(1, [batch])  # makes the optimizer's state
    inputs = to_device(batch, device)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=updater.precision == "bf16")  # as the updater has it
    with updater.halves, autocast:
        forward = peak_bytes(lambda: tuned.loss(inputs.source, inputs.target), device)
    with updater.halves:
        with autocast:
            loss = tuned.loss(inputs.source, inputs.target)
        backward = peak_bytes(loss.backward, device)
    updater.optimizer.zero_grad()
    del loss
    step = step_peak(lambda: updater.update(2, [batch]), updater.parameters, device)
    return {
        "weights": size_of([*tuned.parameters(), *tuned.buffers()]) + bytes_of_copies(updater.halves),
        "gradients": step.gradients,
        "optimizer": size_of(updater.optimizer.state().values()),
        "activations": step.rest,
        "all_gradients": size_of(tuned.trained().values()),
        "forward_peak": forward,
        "backward_peak": backward,
        "batch_size": len(batch.target),
        "tokens": int(texts.lengths.max()),
    }


def size_of(tensors: Any) -> int:
    """Return the bytes of tensors, each storage counted once."""
    found: dict[int, Tensor] = {tensor.data_ptr(): tensor for tensor in tensors if tensor.numel()}
    return sum(tensor.numel() * tensor.element_size() for tensor in found.values())
