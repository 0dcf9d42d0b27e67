"""The dialects that MiniMax's account service answers in, told apart by client.

`minimax-user-code` polls by user code, under a grant type of MiniMax's own (OpenClaw's client). `minimax-user-code-8628` is the
same under RFC 8628's grant type (MiniMax's CLI, the opencode plugin). `minimax-device-code` is close to RFC 8628 (MiniMax Code).
"""

from __future__ import annotations

from typing import Final

from minimax_portal_auth.dialects.device_code import DeviceCodeDialect
from minimax_portal_auth.dialects.user_code import UserCodeDialect, UserCodeRfc8628Dialect

DIALECTS: Final = (UserCodeDialect(), UserCodeRfc8628Dialect(), DeviceCodeDialect())
