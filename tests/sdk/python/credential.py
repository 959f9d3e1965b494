"""A credential for clients of ARM. The emulator takes any token; Entra ID is not asked."""

import time

from azure.core.credentials import AccessToken


class AnyToken:
    """A `TokenCredential` without a network."""

    def get_token(self, *_scopes, **_options):
        return AccessToken("any", int(time.time()) + 3600)
