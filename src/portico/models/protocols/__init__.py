"""The three protocols that models are called over: where a request goes, how one question is asked, how the answer is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.models.protocols.completions import Completions
from portico.models.protocols.messages import Messages
from portico.models.protocols.responses import Responses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.provider_spec import ApiKind
    from portico.models.protocols.question import ApiProtocol

PROTOCOLS: Final[Mapping[ApiKind, ApiProtocol]] = {
    "anthropic-messages": Messages(),
    "openai-completions": Completions(),
    "openai-responses": Responses(),
}
