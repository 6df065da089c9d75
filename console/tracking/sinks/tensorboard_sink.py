"""TensorBoard: event files in `experiments/<run>/tensorboard/`, written without torch and without TensorFlow.

Scalars are in single precision, as TensorBoard has them. Settings are on its HPARAMS tab, what happened under TEXT.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from motley.console.tracking.sink import Mark, Point, RunInfo, Value
from motley.remote.quoting import pasteable

FOLDER = "tensorboard"
EVENTS = "events/"


class TensorBoardSink:
    def __init__(self, info: RunInfo) -> None:
        self._folder = info.folder / FOLDER
        self._run = info.run
        self._marks = 0
        self._last = self._read_back()
        new = not self._last
        self._writer = EventFileWriter(str(self._folder))
        if new:
            start = _session_start(info.settings)
            self._add(Event(wall_time=time.time(), summary=_session(metadata.SESSION_START_INFO_TAG, start)))
            lines = "\n".join(f"    {name} = {value}" for name, value in info.settings.items())
            self._add(Event(wall_time=time.time(), step=0, summary=_text("settings", lines)))
            self._writer.flush()

    @property
    def where(self) -> str:
        return pasteable(["tensorboard", "--logdir", str(self._folder.parent.parent)])

    @property
    def identity(self) -> dict[str, str]:
        return {}

    def last_steps(self) -> Mapping[str, int]:
        return self._last

    def marks(self) -> int:
        return self._marks

    def write(self, points: Sequence[Point], marks: Sequence[Mark]) -> None:
        for point in points:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
            self._add(Event(wall_time=point.time, step=point.step, summary=Summary(value=values)))
        for mark in marks:
            told = f"**{mark.level}: {mark.title}**\n\n{mark.text}"
            self._add(Event(wall_time=mark.time, step=mark.step, summary=_text(f"{EVENTS}{mark.title}", told)))
        self._writer.flush()

    def finish(self, state: str, figures: Mapping[str, Value]) -> None:
        if state:
            step = max(self._last.values(), default=0)
            lines = "\n".join([f"    state = {state}", *(f"    {name} = {value}" for name, value in figures.items())])
            self._add(Event(wall_time=time.time(), step=step, summary=_text("summary", lines)))
            good = api_pb2.STATUS_SUCCESS if state == "finished" else api_pb2.STATUS_FAILURE
            end = HParamsPluginData(session_end_info=SessionEndInfo(status=good, end_time_secs=time.time()))
            self._add(Event(wall_time=time.time(), summary=_session(metadata.SESSION_END_INFO_TAG, end)))
        self._writer.close()

    def _add(self, event: Event) -> None:
        self._writer.add_event(event)

    def _read_back(self) -> dict[str, int]:
        """The newest step of each scalar in the files, which may break off within a record; how many marks."""
        found: dict[str, int] = {}
        for path in sorted(self._folder.glob("events.out.tfevents.*")):
            for event in LegacyEventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    if value.HasField("simple_value") or value.metadata.plugin_data.plugin_name == "scalars":
                        found[value.tag] = max(event.step, found.get(value.tag, -1))
                    self._marks += value.tag.startswith(EVENTS)
        return found


def open_sink(info: RunInfo) -> TensorBoardSink:
    return TensorBoardSink(info)


def _session_start(settings: Mapping[str, Value]) -> HParamsPluginData:
    start = SessionStartInfo(start_time_secs=time.time())
    for name, value in settings.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    return HParamsPluginData(session_start_info=start)


def _session(tag: str, told: HParamsPluginData) -> Summary:
    """As its HPARAMS tab reads it."""
    value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(told), tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _text(tag: str, text: str) -> Summary:
    """As its TEXT tab shows it, in Markdown."""
    plugin = SummaryMetadata.PluginData(plugin_name="text", content=TextPluginData(version=0).SerializeToString())
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
    shown = SummaryMetadata(plugin_data=plugin)
    return Summary(value=[Summary.Value(tag=f"{tag}/text_summary", metadata=shown, tensor=tensor)])
