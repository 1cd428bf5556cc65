"""Header blocks as they come in: put together from their frames, decoded in their order, and bounded.

The decoder's state belongs to the connection, so a block is decoded whether anyone wants its headers or not. One that
is larger than was announced costs only its call, as long as it can be decoded at a bearable price; beyond that price
the state is lost, and with it the connection (RFC 9113, section 10.5.1).
"""

from __future__ import annotations

import hpack

from adapter.triton import frames

LARGEST_LIST = 64 << 10  # as RFC 9113 counts it, and as is announced
_LARGEST_DECODED = 256 << 10  # bytes of a block, and of the list in it
_ENTRY = 32  # that RFC 9113 adds for each header


class HeaderBlocks:
    """What one connection receives. `under_way`: frames of other kinds may not come now."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=_LARGEST_DECODED)
        self._block = bytearray()
        self.under_way = False

    def begin(self, fragment: bytes) -> None:
        """The content of a HEADERS frame. Raises ProtocolError."""
        self.under_way = True
        self._block = bytearray()
        self.go_on(fragment)

    def go_on(self, fragment: bytes) -> None:
        """The content of a CONTINUATION frame. Raises ProtocolError."""
        self._block += fragment
        if len(self._block) > _LARGEST_DECODED:
            raise frames.ProtocolError(frames.ENHANCE_YOUR_CALM, f"headers of more than {_LARGEST_DECODED} bytes")

    def end(self) -> dict[str, str] | None:
        """The headers; None if they are more than `LARGEST_LIST`.

        Raises:
            ProtocolError: they cannot be decoded, or are too many for that.
        """
        block, self._block, self.under_way = bytes(self._block), bytearray(), False
        try:
            decoded = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except hpack.OversizedHeaderListError as error:
            raise frames.ProtocolError(frames.ENHANCE_YOUR_CALM, "far more headers than were allowed") from error
        except (hpack.HPACKError, IndexError) as error:
            raise frames.ProtocolError(frames.COMPRESSION_ERROR, f"headers that cannot be decoded: {error}") from error
        if sum(len(name) + len(value) + _ENTRY for name, value in decoded) > LARGEST_LIST:
            return None
        return {name.decode("latin-1"): value.decode(errors="replace") for name, value in decoded}
