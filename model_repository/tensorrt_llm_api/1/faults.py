"""Which tensor TensorRT-LLM's complaint is about. It says so in words alone."""

from __future__ import annotations

import re

_ABOUT = (
    ("num_return_sequences", re.compile(r"\bbest_of\b|SamplingParams\.n\b|sampling_params\.n\b", re.IGNORECASE)),
    ("lora_task_id", re.compile(r"\blora\b", re.IGNORECASE)),
    ("input_ids", re.compile(r"prompt length|max_num_tokens|max_seq_len|max_input_len|exceeds? max", re.IGNORECASE)),
    ("top_logprobs", re.compile(r"logprobs", re.IGNORECASE)),
)
_GUIDE = re.compile(r"grammar|guid|schema|regex|xgrammar|llguidance|structural|ebnf|json", re.IGNORECASE)


def blamed(message: str, guided: bool) -> str | None:
    """The tensor at fault, or None where it is not the request that is wrong.

    Args:
        guided: whether the request has a guide, which is then the likeliest cause of words about grammars.
    """
    if guided and _GUIDE.search(message):
        return "guided_decoding_guide"
    return next((tensor for tensor, pattern in _ABOUT if pattern.search(message)), None)
