"""Parts of an answer, each decoded so that their texts joined are the text of the whole.

A response of a stream may end inside a character. What is known of the tokens before decides how it is decoded:

- the engine sent them along (`CONTEXT_IDS`): decode those first, give out what the new tokens add;
- the request has an id: its decoder is kept until the next response, in a table of bounded size;
- neither: each response stands for itself, and a character cut in two becomes U+FFFD.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence

from tokentext.detokenizer import IncrementalDetokenizer
from tokentext.tokenizer import TextTokenizer

# Seconds between two responses after which a request counts as over: what its last one left of a character must not
# begin the answer to somebody else who happens to use the same id.
FORGOTTEN_AFTER = 60.0
MAX_OPEN = 1024  # requests whose decoders are kept; the one not heard of for longest makes room


class TextMaker:
    """Decodes responses.

    Args:
        skip_special_tokens: control tokens such as end tokens give no text.
    """

    def __init__(self, tokenizer: TextTokenizer, skip_special_tokens: bool) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._open: OrderedDict[str, tuple[IncrementalDetokenizer, float]] = OrderedDict()

    def whole(self, ids: Sequence[int]) -> str:
        """Text of a sequence that has nothing before and nothing after it."""
        return self._tokenizer.decode(ids, skip_special_tokens=self._skip)

    def after(self, context: Sequence[int], ids: Sequence[int], last: bool) -> str:
        """What `ids` add to the text of `context`; an incomplete character at the end only if nothing follows."""
        decoder = self._decoder()
        decoder.push(context)
        text = decoder.push(ids)
        return text + decoder.flush() if last else text

    def next(self, request_id: str, ids: Sequence[int]) -> str:
        """What `ids` add to the earlier responses to the same request.

        Nobody says which response is the last, so an incomplete character at the very end is not shown.
        """
        now = time.monotonic()
        decoder, last = self._open.get(request_id, (None, 0.0))
        if decoder is None or now - last > FORGOTTEN_AFTER:
            decoder = self._decoder()
        self._open[request_id] = (decoder, now)
        self._open.move_to_end(request_id)
        if len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)
        return decoder.push(ids)

    def _decoder(self) -> IncrementalDetokenizer:
        return IncrementalDetokenizer(self._tokenizer, skip_special_tokens=self._skip)
