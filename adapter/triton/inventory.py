"""What one Triton has: the models that are ready, and what their configurations say."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import NamedTuple

import grpc

from adapter.triton.call import CallFailed
from adapter.triton.model import ModelConfigError, ModelDescription, describe
from adapter.triton.standard_engine import describe_standard
from adapter.triton.subchannel import Subchannel

logger = logging.getLogger("tritongate.models")

CALL_TIMEOUT = 5.0  # seconds for one question to Triton
_RETRY_AFTER = 30.0  # seconds until a configuration that could not be understood is read again: it may be large files


class Refused(NamedTuple):
    """served_id: what the model would be served by. again: when it is read again, by the monotonic clock."""

    served_id: str
    reason: str
    again: float


class Inventory:
    """Asks one Triton.

    Args:
        tokenizers: folder of the operator's, for engines that do not describe themselves; or None.
    Attributes:
        names: Triton's names of the models that were ready, those that describe themselves among them or not.
        described: the descriptions, by Triton's names, in their order.
        refused: the configurations that cannot be understood, by Triton's names. They are read again though they stay
            the same: files on this machine count too.
        answered: it has been read since the Triton last failed.
    """

    def __init__(self, subchannel: Subchannel, tokenizers: Path | None = None) -> None:
        self.subchannel = subchannel
        self._tokenizers = tokenizers
        self.names: frozenset[str] = frozenset()
        self.described: dict[str, ModelDescription] = {}
        self._configs: dict[str, bytes] = {}  # Triton name -> configuration, as last understood
        self.refused: dict[str, Refused] = {}
        self._failures = -1  # the Triton's, when it last answered

    @property
    def answered(self) -> bool:
        return self._failures == self.subchannel.failures

    async def look(self) -> None:
        """Reads it anew: names that are ready, and their configurations.

        Raises:
            CallFailed: what was known stays.
        """
        failures = self.subchannel.failures
        index = await self.subchannel.repository_index(CALL_TIMEOUT)
        names = sorted({entry.name for entry in index.models if entry.state == "READY"})
        configs: dict[str, bytes] = {}
        described: dict[str, ModelDescription] = {}
        refused: dict[str, Refused] = {}
        for name in names:
            try:
                config = (await self.subchannel.model_config(name, CALL_TIMEOUT)).config
            except CallFailed as failure:
                if failure.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                    continue  # unloaded between the two questions
                raise
            configs[name] = config.SerializeToString(deterministic=True)
            before = self.refused.get(name)
            if self._configs.get(name) == configs[name]:
                if name in self.described:
                    described[name] = self.described[name]
                    continue
                if before is not None and time.monotonic() < before.again:
                    refused[name] = before
                    continue
            try:
                description = describe(config) or await asyncio.to_thread(describe_standard, config, self._tokenizers)
            except ModelConfigError as error:
                served_id = config.parameters["served_model_id"].string_value or name
                refused[name] = Refused(served_id, str(error), time.monotonic() + _RETRY_AFTER)
                if before is None or before.reason != str(error):
                    logger.error("a model is not served", extra={"fields": {"reason": str(error)}})
                continue
            if description is not None:
                described[name] = description
        self.names, self.described, self._configs = frozenset(configs), described, configs
        self.refused, self._failures = refused, failures
