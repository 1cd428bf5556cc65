"""Which models there are: asked of Triton, again and again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import grpc

from adapter.errors import APIError, not_found, unavailable
from adapter.triton.call import CallFailed
from adapter.triton.channel import TritonChannel
from adapter.triton.model import Kind, ModelConfigError, ModelDescription, ServedModel, describe
from adapter.triton.tokenizers import TokenizerSource, TokenizerUnavailable

logger = logging.getLogger("tritongate.models")

_CALL_TIMEOUT = 5.0  # seconds for one question to Triton
_RETRY_AFTER = 30.0  # seconds until a tokenizer that could not be had is looked for again
_FRESH = 1.0  # seconds for which an answer counts as current


class ModelRegistry:
    """The served models, by their OpenAI id, as Triton reports them.

    Args:
        interval: seconds between two looks.
    """

    def __init__(self, channel: TritonChannel, tokenizers: TokenizerSource, interval: float) -> None:
        self._channel = channel
        self._tokenizers = tokenizers
        self._interval = interval
        self._models: dict[str, ServedModel] = {}
        self._configs: dict[str, bytes] = {}  # Triton name -> configuration, as last understood
        self._broken: dict[str, str] = {}  # served id -> why it is not served
        self._described: dict[str, ModelDescription] = {}  # Triton name -> description
        self._checked = 0.0
        # Triton name -> when its tokenizer, which could not be had, is tried again, and why it could not
        self._retry: dict[str, tuple[float, str]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.reachable = False
        self.seen = asyncio.Event()  # set once models have been read from Triton

    def start(self) -> None:
        """Begins to look at Triton in the background."""
        self._task = asyncio.get_running_loop().create_task(self._keep_looking(), name="model-discovery")

    async def stop(self) -> None:
        for task in (self._task, self._looking):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def models(self) -> list[ServedModel]:
        """All served models, in the order of their ids; asks Triton if the last answer is not current.

        Raises:
            APIError: 503, Triton cannot be reached.
        """
        await self._refresh_if_stale()
        if not self.reachable:
            raise unavailable("Triton cannot be reached at the moment.")
        return [self._models[model_id] for model_id in sorted(self._models)]

    async def get(self, model_id: str, *kinds: Kind) -> ServedModel:
        """The model that a request names.

        Args:
            kinds: those that the endpoint is for; none: all.
        Raises:
            APIError: 404 no such model; 400 a model of another kind; 503 it is known but not usable, or Triton is away.
        """
        model = self._models.get(model_id)
        if model is None:
            await self._refresh_if_stale()
            model = self._models.get(model_id)
        if model is None:
            raise self._unknown(model_id)
        if kinds and model.kind not in kinds:
            wanted = " or ".join(f"`{kind.value}`" for kind in kinds)
            raise APIError(
                400,
                f"The model `{model_id}` is of kind `{model.kind.value}`; this endpoint needs {wanted}.",
                param="model",
                code="model_not_supported",
            )
        return model

    def _unknown(self, model_id: str) -> APIError:
        if reason := self._broken.get(model_id):
            return unavailable(f"The model `{model_id}` is loaded in Triton but cannot be served: {reason}")
        if not self.reachable:
            return unavailable("Triton cannot be reached at the moment.")
        return not_found(
            f"The model `{model_id}` does not exist or you do not have access to it.", "model", "model_not_found"
        )

    async def _keep_looking(self) -> None:
        while True:
            try:
                await asyncio.shield(self._start_look())
            except Exception:  # the look-out must outlive whatever a look runs into
                logger.exception("model discovery failed")
            await asyncio.sleep(self._interval)

    async def _refresh_if_stale(self) -> None:
        """Has somebody look, but waits no longer than a look takes that finds nothing new to load."""
        if time.monotonic() - self._checked > _FRESH:
            await asyncio.wait([self._start_look()], timeout=_CALL_TIMEOUT)

    def _start_look(self) -> asyncio.Task[None]:
        """The look that is under way, or a new one."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._refresh())
        return self._looking

    async def _refresh(self) -> None:
        try:
            await self._look()
            self._set_reachable(True)
            self.seen.set()
        except CallFailed as failure:
            self._set_reachable(False, failure.details)
        finally:
            self._checked = time.monotonic()

    def _set_reachable(self, reachable: bool, reason: str = "") -> None:
        if reachable != self.reachable or not self._checked:
            if reachable:
                logger.info("connected to Triton", extra={"fields": {"triton": self._channel.url}})
            else:
                fields = {"triton": self._channel.url, "reason": reason}
                logger.warning("Triton cannot be reached", extra={"fields": fields})
        self.reachable = reachable

    async def _look(self) -> None:
        """One look: names that are ready, their configurations, the tokenizers of new ones."""
        index = await self._channel.repository_index(_CALL_TIMEOUT)
        names = sorted({entry.name for entry in index.models if entry.state == "READY"})
        for gone in set(self._configs) - set(names):
            self._forget(gone)
        for name in names:
            try:
                config = (await self._channel.model_config(name, _CALL_TIMEOUT)).config
            except CallFailed as failure:
                if failure.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                    self._forget(name)  # unloaded between the two questions
                    continue
                raise
            encoded = config.SerializeToString(deterministic=True)
            if self._configs.get(name) == encoded:
                continue
            self._forget(name)
            self._configs[name] = encoded
            try:
                description = describe(config)
            except ModelConfigError as error:
                logger.error("a model is not served", extra={"fields": {"reason": str(error)}})
                continue
            if description is not None:
                self._described[name] = description
        await self._serve(self._described)

    def _forget(self, name: str) -> None:
        for known in (self._configs, self._described, self._retry):
            known.pop(name, None)

    async def _serve(self, described: dict[str, ModelDescription]) -> None:
        """Makes `_models` what is described: keeps the unchanged, loads tokenizers for the new."""
        models: dict[str, ServedModel] = {}
        broken: dict[str, str] = {}
        for description in described.values():
            if description.id in models:
                other = models[description.id].triton_name
                fields = {"model": description.id, "served": other, "ignored": description.triton_name}
                if self._models.get(description.id) is not models[description.id]:
                    logger.error("two Triton models claim the same id", extra={"fields": fields})
                continue
            current = self._models.get(description.id)
            if current is not None and _same(current, description):
                models[description.id] = current
                continue
            again, reason = self._retry.get(description.triton_name, (0.0, ""))
            if again > time.monotonic():
                broken[description.id] = reason
                continue
            try:
                tokenizer = await self._tokenizers.load(description)
            except TokenizerUnavailable as error:
                broken[description.id] = str(error)
                self._retry[description.triton_name] = (time.monotonic() + _RETRY_AFTER, str(error))
                if self._broken.get(description.id) != str(error):
                    fields = {"model": description.id, "reason": str(error)}
                    logger.error("a model is not served", extra={"fields": fields})
                continue
            models[description.id] = ServedModel(**vars(description), tokenizer=tokenizer)
            logger.info("serving a model", extra={"fields": {"model": description.id}})
        for gone in self._models.keys() - models.keys():
            logger.info("no longer serving a model", extra={"fields": {"model": gone}})
        self._models = models
        self._broken = broken
        self._tokenizers.keep_only({model.tokenizer for model in models.values()})


def _same(model: ServedModel, description: ModelDescription) -> bool:
    described = vars(description)
    return all(getattr(model, name) == value for name, value in described.items())
