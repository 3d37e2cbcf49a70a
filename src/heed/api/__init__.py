"""Language models behind an API: requests, answers, retries, rates, budgets, and answers that are kept. No torch.

    from heed.api import CompletionRequest, open_api, read_key

    caller = open_api("http://127.0.0.1:8000/v1", "quickstart", read_key("http://127.0.0.1:8000/v1"), answers="a.jsonl")
    print(caller.bill(requests).said())
    for answer in caller.complete_all(requests): ...

`Completer` is who answers one call, over HTTP (`client.CompletionClient`) or on this machine; `Caller` adds the rest.
"""

from heed.api.answers import ANSWERS, AnswerStore
from heed.api.bill import Bill, Prices, Spending, SpendingLimit, SpentError, bill_of, read_limit
from heed.api.caller import Caller, open_api
from heed.api.client import CompletionClient, checked_url
from heed.api.completion import (
    ChatTurn,
    Completer,
    CompletionAnswer,
    CompletionChoice,
    CompletionRequest,
    FailedCallError,
    RefusedError,
)
from heed.api.keys import ApiKey, read_key
from heed.api.limits import RateLimit, RetryPlan

__all__ = [
    "ANSWERS",
    "AnswerStore",
    "ApiKey",
    "Bill",
    "Caller",
    "ChatTurn",
    "Completer",
    "CompletionAnswer",
    "CompletionChoice",
    "CompletionClient",
    "CompletionRequest",
    "FailedCallError",
    "Prices",
    "RateLimit",
    "RefusedError",
    "RetryPlan",
    "Spending",
    "SpendingLimit",
    "SpentError",
    "bill_of",
    "checked_url",
    "open_api",
    "read_key",
    "read_limit",
]
