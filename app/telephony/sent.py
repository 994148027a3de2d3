"""Was the request sent? Every exception of aiohttp's client, in one table.

Only what is raised while a connection is still being made proves that no byte of the request has left. aiohttp keeps
those classes apart from the ones that it raises while writing and reading; a class that may come in both states counts
as perhaps sent.
"""

import aiohttp
from aiohttp.client_exceptions import UnixClientConnectorError

NEVER_SENT: frozenset[type[BaseException]] = frozenset(
    {
        aiohttp.ClientConnectorCertificateError,
        aiohttp.ClientConnectorDNSError,
        aiohttp.ClientConnectorError,
        aiohttp.ClientConnectorSSLError,
        aiohttp.ClientProxyConnectionError,
        aiohttp.ClientSSLError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.InvalidURL,
        aiohttp.InvalidUrlClientError,
        aiohttp.NonHttpUrlClientError,
        aiohttp.ServerFingerprintMismatch,
        UnixClientConnectorError,
    }
)
"""Raised before there is a connection: no call was asked for, and one may be asked for again."""

PERHAPS_SENT: frozenset[str] = frozenset(
    {
        "ClientConnectionError",
        "ClientConnectionResetError",
        "ClientError",
        "ClientHttpProxyError",
        "ClientOSError",
        "ClientPayloadError",
        "ClientResponseError",
        "ContentTypeError",
        "InvalidUrlRedirectClientError",
        "NonHttpUrlRedirectClientError",
        "OSError",
        "RedirectClientError",
        "ServerConnectionError",
        "ServerDisconnectedError",
        "ServerTimeoutError",
        "SocketTimeoutError",
        "TimeoutError",
        "TooManyRedirects",
        "UploadAbortedError",
        "WSMessageTypeError",
        "WSServerHandshakeError",
    }
)
"""Raised when bytes may have left: the phone may ring, and is not called again.

By name, since not every supported aiohttp has them all. Only a test reads this list, and fails for a class that nobody
has judged yet: what is not in `NEVER_SENT` counts as perhaps sent anyway.
"""


def never_sent(error: BaseException) -> bool:
    """Whether an exception proves that the request was not sent.

    The very class decides, not its ancestors: one that a later aiohttp derives from these proves nothing yet.
    """
    return type(error) in NEVER_SENT
