"""Which models there are: asked of every Triton, again and again.

A model is served where it is ready. Tritons that describe the same model differently (an update that has not reached
all of them) are not mixed: the description in use stays in use as long as a Triton has it, else the first one counts,
and the others get no request for this model.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Iterable
from dataclasses import replace

from adapter.errors import APIError, not_found, unavailable
from adapter.triton.call import CallFailed, NoPlace, NotProcessed
from adapter.triton.channel import TritonChannel
from adapter.triton.inventory import CALL_TIMEOUT, Inventory
from adapter.triton.model import Kind, ModelDescription, ServedModel, with_adapters
from adapter.triton.subchannel import Subchannel
from adapter.triton.tokenizers import TokenizerSource, TokenizerUnavailable

logger = logging.getLogger("tritongate.models")

_RETRY_AFTER = 30.0  # seconds until a tokenizer that could not be had is looked for again
_FRESH = 1.0  # seconds for which an answer counts as current
_BACKOFF = (0.2, 5.0)  # seconds between two looks at a Triton that is not ready: at first, and at most


class ModelRegistry:
    """The served models, by their OpenAI id, as the Tritons report them.

    Args:
        interval: seconds between two looks.
    """

    def __init__(self, channel: TritonChannel, tokenizers: TokenizerSource, interval: float) -> None:
        self._channel = channel
        self._tokenizers = tokenizers
        self._interval = interval
        self._inventories: dict[Subchannel, Inventory] = {}
        self._models: dict[str, ServedModel] = {}
        self._broken: dict[str, str] = {}  # served id -> why it is not served
        self._checked = 0.0
        # What could not be served for want of a tokenizer: when that is tried again, and why it could not be had.
        self._retry: dict[ModelDescription, tuple[float, str]] = {}
        self._told: set[tuple[str, ...]] = set()  # contradictions that were logged
        self._serving = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._recoveries: dict[Subchannel, asyncio.Task[None]] = {}
        self.seen = asyncio.Event()  # set once models have been read from a Triton

    def start(self) -> None:
        """Begins to look at the Tritons in the background, and to await those that fail."""
        self._channel.on_failure = self._await_recovery
        self._task = asyncio.get_running_loop().create_task(self._keep_looking(), name="model-discovery")

    async def stop(self) -> None:
        self._channel.on_failure = None
        for task in (self._task, self._looking, *self._recoveries.values()):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    @property
    def reachable(self) -> bool:
        """Whether any Triton is."""
        return self._channel.reachable

    async def models(self) -> list[ServedModel]:
        """All models that a Triton has ready, in the order of their ids; asks if the last answer is not current.

        Raises:
            APIError: 503, no Triton can be reached.
        """
        await self._refresh_if_stale()
        if not self.reachable:
            raise unavailable("Triton cannot be reached at the moment.")
        models = [self._models[model_id] for model_id in sorted(self._models)]
        return [model for model in models if self._channel.serving(model.triton_name)]

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
        refused = {entry.served_id for one in self._inventories.values() for entry in one.refused.values()}
        if model_id in self._broken or model_id in refused:  # why names files and parameters: that is for the log
            return unavailable(
                f"The model `{model_id}` is loaded in Triton but cannot be served; this server's log says why."
            )
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
            await asyncio.wait([self._start_look()], timeout=CALL_TIMEOUT)

    def _start_look(self) -> asyncio.Task[None]:
        """The look that is under way, or a new one."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._refresh())
        return self._looking

    async def _refresh(self) -> None:
        try:
            await self._look()
        finally:
            self._checked = time.monotonic()

    async def _look(self) -> None:
        """Reads every Triton that is ready, or all of them if none is; the others are awaited meanwhile."""
        await self._channel.look_up_names()
        current = self._channel.subchannels
        given = self._tokenizers.folder
        self._inventories = {one: self._inventories.get(one) or Inventory(one, given) for one in current}
        asked = [one for one in current if one.ready] or current
        if self._task is not None:
            for one in set(current).difference(asked):
                self._await_recovery(one)
        await asyncio.gather(*(self._ask(self._inventories[one]) for one in asked))
        await self._serve()

    async def _ask(self, inventory: Inventory) -> bool:
        """Whether the Triton has answered; one that has not is no longer ready, unless it was not really asked."""
        try:
            await inventory.look()
        except (NoPlace, NotProcessed):
            return False
        except CallFailed as failure:
            inventory.subchannel.fail(failure.details)
            return False
        return True

    def _await_recovery(self, subchannel: Subchannel) -> None:
        if subchannel not in self._recoveries and subchannel in self._inventories:
            task = asyncio.get_running_loop().create_task(self._recover(subchannel), name="triton-recovery")
            self._recoveries[subchannel] = task
            task.add_done_callback(lambda _: self._recoveries.pop(subchannel, None))

    async def _recover(self, subchannel: Subchannel) -> None:
        """Asks a Triton that is not ready until it answers, at growing intervals."""
        delay, longest = _BACKOFF
        while (inventory := self._inventories.get(subchannel)) is not None and not subchannel.ready:
            if await self._ask(inventory):
                try:
                    await self._serve()
                except Exception:  # as in a look
                    logger.exception("model discovery failed")
            if not subchannel.ready:
                await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # many adapters do not ask at the same time
                delay = min(2 * delay, longest)

    async def _serve(self) -> None:
        """Makes `_models` what the Tritons have: keeps the unchanged, loads tokenizers for the new."""
        self._agree()  # a Triton that is back gets requests now, whatever the loading of a tokenizer takes
        async with self._serving:
            await self._load(self._agree())
        if self.reachable:
            self.seen.set()

    def _agree(self) -> list[ModelDescription]:
        """What is to be served; says to each Triton's subchannel for which models it is good."""
        for subchannel, inventory in self._inventories.items():
            if inventory.answered:
                subchannel.recover()
        claims: dict[str, list[tuple[Subchannel, ModelDescription]]] = {}
        contradictions: set[tuple[str, ...]] = set()
        for subchannel, inventory in self._inventories.items():
            own: dict[str, ModelDescription] = {}
            for description in (one for base in inventory.described.values() for one in with_adapters(base)):
                first = own.setdefault(description.id, description)
                if first is not description:
                    contradictions.add((subchannel.label, description.id, first.triton_name, description.triton_name))
                else:
                    claims.setdefault(description.id, []).append((subchannel, description))
        chosen: list[ModelDescription] = []
        refused: dict[Subchannel, set[str]] = {}
        for model_id, claimants in claims.items():
            # What only Tritons have that are away at the moment is known all the same: 503, and not 404.
            present = [description for subchannel, description in claimants if subchannel.ready]
            candidates = present or [description for _, description in claimants]
            current = self._models.get(model_id)
            kept = [one for one in candidates if current is not None and _same(current, one)]
            chosen.append(choice := (kept or candidates)[0])
            for subchannel, description in claimants:
                if not _interchangeable(choice, description):
                    refused.setdefault(subchannel, set()).add(description.triton_name)
                    contradictions.add((subchannel.label, model_id))
        for subchannel, inventory in self._inventories.items():
            subchannel.serves = inventory.names - inventory.refused.keys() - refused.get(subchannel, set())
        self._tell(contradictions)
        return chosen

    def _tell(self, contradictions: set[tuple[str, ...]]) -> None:
        for triton, model_id, *names in contradictions - self._told:
            fields = {"model": model_id, "triton": triton}
            if names:
                fields.update(served=names[0], ignored=names[1])
                logger.error("two Triton models claim the same id", extra={"fields": fields})
            else:
                logger.error("a Triton has another version of a model and is not used for it", extra={"fields": fields})
        self._told = contradictions

    async def _load(self, described: Iterable[ModelDescription]) -> None:
        models: dict[str, ServedModel] = {}
        broken: dict[str, str] = {}
        retry: dict[ModelDescription, tuple[float, str]] = {}
        for description in described:
            current = self._models.get(description.id)
            if current is not None and _same(current, description):
                models[description.id] = current
                continue
            again, reason = self._retry.get(description, (0.0, ""))
            if again <= time.monotonic():
                try:
                    tokenizer = await self._tokenizers.load(description)
                except CallFailed as failure:  # Triton is away: tried again as soon as it is back
                    broken[description.id] = f"its tokenizer could not be had: {failure.code.name}"
                    continue
                except TokenizerUnavailable as error:
                    again, reason = time.monotonic() + _RETRY_AFTER, str(error)
                    if self._broken.get(description.id) != reason:
                        fields = {"model": description.id, "reason": reason}
                        logger.error("a model is not served", extra={"fields": fields})
                else:
                    models[description.id] = ServedModel(**vars(description), tokenizer=tokenizer)
                    logger.info("serving a model", extra={"fields": {"model": description.id}})
                    continue
            broken[description.id] = reason
            retry[description] = (again, reason)
        for gone in self._models.keys() - models.keys():
            logger.info("no longer serving a model", extra={"fields": {"model": gone}})
        self._models, self._broken, self._retry = models, broken, retry
        self._tokenizers.keep_only({model.tokenizer for model in models.values()})


def _same(model: ServedModel, description: ModelDescription) -> bool:
    described = vars(description)
    return all(getattr(model, name) == value for name, value in described.items())


def _interchangeable(one: ModelDescription, other: ModelDescription) -> bool:
    """Whether a request made for one may go to the other: only the place of the tokenizer may differ."""
    if one.tokenizer_sha256:
        one, other = replace(one, tokenizer_dir=""), replace(other, tokenizer_dir="")
    return one == other
