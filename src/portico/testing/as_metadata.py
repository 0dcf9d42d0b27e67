"""What the authorization server says about itself (RFC 8414), and what a client of it is told."""

from __future__ import annotations

from portico.interfaces.authorization import OAuthServer, Redirect

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def document(issuer: str, *, send_iss: bool, require_pushed: bool = False) -> dict[str, object]:
    """The metadata document of `issuer`."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "device_authorization_endpoint": f"{issuer}/device_authorization",
        "revocation_endpoint": f"{issuer}/revoke",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "grant_types_supported": ["authorization_code", "refresh_token", DEVICE_GRANT],
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": send_iss,
        "pushed_authorization_request_endpoint": f"{issuer}/par",
        "require_pushed_authorization_requests": require_pushed,
    }


def description(base_url: str, client_id: str, *, redirect: bool, send_iss: bool, require_pushed: bool = False) -> OAuthServer:
    """The server at `base_url` as `portico.interfaces.authorization` describes one."""
    base = base_url.rstrip("/")
    return OAuthServer(
        issuer=base,
        client_id=client_id,
        token_endpoint=f"{base}/token",
        scope="profile",
        authorization_endpoint=f"{base}/authorize",
        device_authorization_endpoint=f"{base}/device_authorization",
        revocation_endpoint=f"{base}/revoke",
        redirect=Redirect() if redirect else None,
        iss_advertised=send_iss,
        pushed_authorization_request_endpoint=f"{base}/par",
        pushed_authorization_required=require_pushed,
    )
