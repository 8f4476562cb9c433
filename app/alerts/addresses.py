"""Which addresses the service may connect to for somebody else. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["Address", "Network", "ip_address", "is_allowed"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052, section 2.1: the last 32 bits are an IPv4 address


def is_allowed(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """Whether the service may connect to an address.

    >>> is_allowed(ip_address("93.184.215.14")), is_allowed(ip_address("169.254.169.254"))
    (True, False)
    >>> is_allowed(ip_address("::ffff:10.0.0.1")), is_allowed(ip_address("10.0.0.1"), [IPv4Network("10.0.0.0/8")])
    (False, True)
    """
    inner = _inner(address)
    if any(inner in network for network in allowed):
        return True
    return inner.is_global and not inner.is_multicast


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, where it does: mapped, 6to4, Teredo, NAT64."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address
