"""TensorBoard: an event file beside metrics.jsonl, which `tensorboard --logdir runs` shows.

    length (8 bytes), its masked CRC-32C (4), a protocol buffer `Event`, its masked CRC-32C (4)          again and again

The file is one, and is appended to. A session that goes on first cuts off what a dying process left of a record, and
says with `SessionLog.START` that what was told from its first step on is void. No tensorflow is needed, and nothing
waits in a buffer or a thread.
"""

from __future__ import annotations

import importlib
import io
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heed import files
from heed.training.trackers.tracker import TrackedRun, Tracker

EVENTS = "events.out.tfevents.heed"
STRING = 7
"""DT_STRING of TensorFlow's types.proto."""


class TensorBoard(Tracker):
    """Writes the event file of a run."""

    needs = ("tensorboard", "tensorboard")
    takes_back = True

    def __init__(self, run: TrackedRun) -> None:
        proto = _proto("event")
        self.path, self.event = run.folder / EVENTS, proto.Event
        records = read_records(self.path)
        whole = sum(16 + len(record) for record in records)
        if self.path.exists() and self.path.stat().st_size > whole:
            os.truncate(self.path, whole)
        if not records:
            self._write(file_version="brain.Event:2")
            self._settings(run.settings)
        else:
            self.knows = min(run.step, max(proto.Event.FromString(record).step for record in records))
            self._write(step=run.step + 1, session_log=proto.SessionLog(status=proto.SessionLog.START))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Write a point of each curve."""
        value = _proto("summary").Summary.Value
        self._summary(step, [value(tag=name, simple_value=number) for name, number in values.items()])

    def text(self, step: int, text: str) -> None:
        """Write a text, set as it is: TensorBoard takes it for Markdown."""
        self._text(step, "samples", "".join(f"    {line}\n" for line in text.split("\n")))

    def _settings(self, settings: Mapping[str, Any]) -> None:
        """Write the settings, as a text and for the table of hyperparameters."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        rows = "".join(f"| {name} | {_shown(value)} |\n" for name, value in settings.items())
        self._text(0, "settings", f"| setting | value |\n|---|---|\n{rows}")
        plain = {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in settings.items()}
        self._write(step=0, summary=hparams_pb(plain))

    def _text(self, step: int, tag: str, text: str) -> None:
        summary, shapes = _proto("summary"), _proto("tensor_shape")
        shape = shapes.TensorShapeProto(dim=[shapes.TensorShapeProto.Dim(size=1)])
        content = [text.encode("utf-8", "replace")]
        tensor = _proto("tensor").TensorProto(dtype=STRING, tensor_shape=shape, string_val=content)
        about = summary.SummaryMetadata(plugin_data=summary.SummaryMetadata.PluginData(plugin_name="text"))
        self._summary(step, [summary.Summary.Value(tag=tag, tensor=tensor, metadata=about)])

    def _summary(self, step: int, values: list[Any]) -> None:
        self._write(step=step, summary=_proto("summary").Summary(value=values))

    def _write(self, **fields: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = io.BytesIO()
        RecordWriter(record).write(self.event(wall_time=time.time(), **fields).SerializeToString())
        files.append(self.path, record.getvalue())


def _proto(name: str) -> Any:
    """Return a module of protocol buffers, which tensorboard brings."""
    return importlib.import_module(f"tensorboard.compat.proto.{name}_pb2")


def read_records(path: Path) -> list[bytes]:
    """Return the whole records of an event file, without their lengths and sums; none where there is no file."""
    found, place = [], 0
    content = path.read_bytes() if path.exists() else b""
    while place + 12 <= len(content):
        end = place + 16 + struct.unpack_from("<Q", content, place)[0]
        if end > len(content):
            break
        found.append(content[place + 12 : end - 4])
        place = end
    return found


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
