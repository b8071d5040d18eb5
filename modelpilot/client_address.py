"""Who a request comes from, as far as that can be known."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest

# Behind a unix socket nobody has an address.
UNKNOWN = "unknown"
TRUSTED = [ipaddress.ip_network(proxy, strict=False) for proxy in settings.TRUSTED_PROXIES]


def client_address(request: HttpRequest) -> str:
    """Who is counted: the peer, or behind trusted proxies the first address they don't know.

    X-Forwarded-For is read from the right, as anything further left is the client's own
    word. An IPv6 client owns a /64 and is counted as that.
    """
    address = request.META.get("REMOTE_ADDR") or UNKNOWN
    if TRUSTED and trusted(address):
        hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        for forwarded in reversed([text.strip() for text in hops if text.strip()]):
            address = forwarded
            if not trusted(address):
                break
    return counted_as(address)


def trusted(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in TRUSTED)


def counted_as(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return UNKNOWN
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False).network_address)
