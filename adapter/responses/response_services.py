"""What a response is made with."""

from __future__ import annotations

from dataclasses import dataclass

from adapter.media.loader import MediaLoader
from adapter.prompts import PromptTemplates
from adapter.responses.archive import Archive
from adapter.responses.runs import Runs
from adapter.security.sealing import Sealer
from adapter.settings import Settings
from adapter.tools.toolboxes import ToolServices
from adapter.triton.channel import TritonChannel
from adapter.triton.registry import ModelRegistry


@dataclass(frozen=True, kw_only=True)
class ResponseServices(ToolServices):
    settings: Settings
    channel: TritonChannel
    registry: ModelRegistry
    media: MediaLoader
    archive: Archive
    runs: Runs
    sealer: Sealer
    prompts: PromptTemplates
