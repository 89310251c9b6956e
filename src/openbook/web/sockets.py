"""Listening on this machine."""

import socket

from openbook.errors import SettingError


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens already: the address may be opened as soon as it is printed.

    Args:
        host: an address of this machine.
        port: 0 takes a free one.

    Raises:
        SettingError: it is taken, or no address of this machine.
    """
    if not 0 <= port < 2**16:
        raise SettingError(f"`port` {port}: give a number from 0 to {2**16 - 1}; 0 takes a free one")
    listening: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except socket.gaierror as error:
        raise SettingError(f"`host` {host}: is no address of this machine ({error.strerror})") from None
    except (OSError, UnicodeError) as error:
        if listening is not None:
            listening.close()
        raise SettingError(f"`port` {port}: cannot listen there ({error}); 0 takes a free one") from None
    return listening
