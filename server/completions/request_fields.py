"""OpenAI's fields of a completions request, one by one: passed on, without effect, or refused with a reason (pure).

OpenAI: CreateCompletionRequest.
"""

from functools import partial

from server.relay.fields import Check, boolean, decimal, integer, refused, string
from server.relay.sampling_fields import MAX_CHOICES, logit_bias, stop, stream_options, top_p
from server.relay.token_prompts import read_prompts

MAX_BEST_OF = 20  # OpenAI's

PASSED_ON: dict[str, Check] = {
    "best_of": integer(0, MAX_BEST_OF),
    "echo": boolean,
    "frequency_penalty": decimal(-2, 2),
    "logit_bias": logit_bias,
    "logprobs": integer(0, 5),
    "max_tokens": integer(0, 2**31 - 1),
    "n": integer(1, MAX_CHOICES),
    "presence_penalty": decimal(-2, 2),
    "prompt": partial(read_prompts, most=MAX_CHOICES),
    "seed": integer(-(2**63), 2**63 - 1),
    "stop": stop,
    "stream": boolean,
    "stream_options": stream_options,
    "temperature": decimal(0, 2),
    "top_p": top_p,
}
WITHOUT_EFFECT: dict[str, Check] = {
    "suffix": refused("The models of this server go on with a text, and fill in none. Leave it out."),
    "user": string,
}
KNOWN = frozenset({"model", *PASSED_ON, *WITHOUT_EFFECT})
