"""The OAuth flows of RFC 6749, 8252 and 8628, for any provider."""
