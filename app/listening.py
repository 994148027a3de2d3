"""The socket that a server listens on, and what is said where there can be none."""

import errno
import socket

from app.processes import EX_CONFIG, EX_UNAVAILABLE, StartError

BACKLOG = 2048

_PERMANENT = {errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT, socket.EAI_NONAME}
"""Errors of a bind that do not pass by themselves: a port below 1024, no IPv6 here, a name that does not exist."""


def listen(host: str, port: int, host_setting: str, port_setting: str) -> socket.socket:
    """A listening socket; on `::` it takes IPv4 as well.

    Raises:
        StartError: there can't be one; the message names the setting to change.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=dual)
    except (OverflowError, UnicodeError) as error:
        raise StartError(f"{host_setting}, {port_setting}: {host} and {port} are no address and port") from error
    except OSError as error:
        about_port = error.errno in {errno.EADDRINUSE, errno.EACCES}
        setting, value = (port_setting, port) if about_port else (host_setting, host)
        status = EX_CONFIG if error.errno in _PERMANENT else EX_UNAVAILABLE
        raise StartError(
            f"{setting}: {value} can't be listened on ({error.strerror}): choose another", status
        ) from error
