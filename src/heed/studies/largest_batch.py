"""The largest batch of labelled texts that fits: one size for all arms, that of the arm which needs the most memory.

Arms are compared at equal budget, so they share a batch size. It is tried on the longest training texts; how it is
searched is told in `heed.training.autobatch`.
"""

from __future__ import annotations

import gc
from dataclasses import replace

from heed.config.tuning import TuneConfig
from heed.errors import ConfigError, HeedError
from heed.records.tune import TuneFile
from heed.studies.tune_plan import Say, TunePlan, arm_config
from heed.studies.tune_record import name_arms
from heed.text.splits import Splits
from heed.training.autobatch import BatchSearch, largest_batch, optimizer_bytes, training_step
from heed.training.devices import choose_device
from heed.training.streams import Streams
from heed.tuning.encoders import load_encoder
from heed.tuning.methods import frozen_features
from heed.tuning.texts import longest_batch
from heed.tuning.tuned_run import Material, build, changed

LEAST_STEPS = 16
"""Steps that an epoch keeps: a batch takes at most this part of the texts, however much memory there is."""

MOST_TEXTS = 1024
"""The largest batch that is tried."""


def settle_batch(plan: TunePlan, splits: Splits, earlier: TuneFile | None, say: Say) -> tuple[TunePlan, dict[str, int]]:
    """Return the plan with a number in the place of `train.batch_size` auto, and the largest batch of each arm.

    A tune that goes on keeps the number that it began with. An arm that cannot be tuned at all has no say; that it
    cannot is told when its turn comes. Raises `ConfigError` when no arm can.
    """
    if plan.config.train.batch_size != "auto":
        return plan, {}
    found: dict[str, int] = dict(earlier.largest_batches) if earlier else {}
    size = earlier.batch_size if found and earlier else 0
    reason = ""
    for pair, arm in name_arms(plan.pairs).items() if not size else ():
        config = arm_config(plan, pair)
        try:
            encoder = load_encoder(config.encoder, splits.target, native=False)
            search = find_batch(config, Material.of(splits, encoder, config.encoder.max_length))
        except HeedError as error:
            reason = reason or str(error)
            continue
        found[arm] = search.size
        say(f"{arm}: {search.reason}")
    if not found:
        raise ConfigError(reason)
    size = size or min(found.values())
    say(f"batch size {size} for every arm")
    return replace(plan, config=changed(plan.config, train={"batch_size": size})), found


def find_batch(config: TuneConfig, material: Material) -> BatchSearch:
    """Return the largest batch that fits where an arm is tuned, on the longest of its training texts.

    Raises `ConfigError` when not even one text fits, and what `build` raises.
    """
    device = choose_device(config.run.device)
    tuned, _, _ = build(config, material.splits.target)
    tuned.to(device).train()
    texts, frozen = material.encoded["train"], frozen_features(config.method.name)
    width = tuned.shape.d_model if frozen else None
    seeds, precision = Streams(config.run.seed), config.train.precision
    step = training_step(tuned, lambda size: longest_batch(texts, size, width), seeds, device, precision)
    try:
        limit = max(1, min(MOST_TEXTS, len(texts) // LEAST_STEPS))
        return largest_batch(step, device=device, limit=limit, reserve=optimizer_bytes(tuned))
    except ConfigError:
        raise ConfigError(
            f"train.batch_size: not even one text fits into memory with {config.method.name}; take a smaller "
            "--max-length, or leave the method out"
        ) from None
    finally:
        del tuned, step
        gc.collect()  # the next arm needs the room
