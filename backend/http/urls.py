"""Web addresses read, shown without secrets, and matched with rules for hosts.

Pure. Opens no connection and resolves no name; `network.py` applies a scope to the
addresses that a name resolves to.
"""

import enum
import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Self

import httpx

from backend.errors import InvalidUrl

_LONGEST_SHOWN: Final = 120

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
# The only IPv6 addresses ever assigned to the public internet (RFC 4291).
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_PRIVATE_NETWORKS: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
)
# Clouds answer with a machine's credentials here, besides on link-local addresses:
# Alibaba, Azure, Oracle and AWS. Some lie within private ranges, some do not.
_METADATA_SERVICES: Final = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
    )
)


class NetworkScope(enum.Enum):
    """Which networks a request may connect to."""

    PUBLIC = "the public internet"
    PRIVATE = "the public internet, private networks and this machine"
    NAMED = "what the name of a host can open"
    ANYWHERE = "any address"

    def allows(self, address: str) -> bool:
        """Say whether an IP address lies within this scope."""
        if self is NetworkScope.ANYWHERE:
            return True
        if is_reserved(address):
            return False
        if self is NetworkScope.NAMED:
            return True
        ip = _unwrap(ipaddress.ip_address(address))
        if _is_public(ip):
            return True
        return self is NetworkScope.PRIVATE and any(
            ip in network for network in _PRIVATE_NETWORKS
        )


@dataclass(frozen=True)
class HostRule:
    """One entry of IMAGE_HOSTS: `host`, `host:port` or `*.suffix[:port]`."""

    host: str
    port: int | None
    with_subdomains: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one entry.

        Raises:
            ValueError: if the text is more or less than a host with a port.
        """
        rest = text.strip().removeprefix("*.")
        shown = re.sub(r".*@", "***@", text, flags=re.DOTALL)  # a password
        try:
            url = httpx.URL(f"rule://{rest}")  # a scheme without a default port
            has_host = bool(url.host)
        except (httpx.InvalidURL, UnicodeError) as e:
            raise ValueError(f"{shown!r} is not a host, host:port or *.suffix") from e
        if (
            not has_host
            or re.search(r"[*%\s]", rest)
            or str(url) != f"rule://{url.netloc.decode()}"
        ):
            raise ValueError(f"{shown!r} is not a host, host:port or *.suffix")
        return cls(_host(url), url.port, rest != text.strip())

    @property
    def is_number(self) -> bool:
        """Whether it is an IP address, and not a name that anybody may point there."""
        return not self.with_subdomains and is_number(self.host)

    def names(self, url: httpx.URL) -> bool:
        """Say whether the URL's host, and port if the rule has one, are meant."""
        host = _host(url)
        if self.port is not None and self.port != origin(url)[2]:
            return False
        if self.with_subdomains:
            return host.endswith("." + self.host)
        return host == self.host


def is_reserved(address: str) -> bool:
    """Say whether an IP address is link-local, or one of a cloud's metadata service.

    Machines are given their credentials there.
    """
    ip = _unwrap(ipaddress.ip_address(address))
    return ip in _METADATA_SERVICES or ip.is_link_local


def is_number(host: str) -> bool:
    """Say whether a host is written as an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def parse_url(address: str) -> httpx.URL:
    """Read an absolute http(s) URL.

    Raises:
        InvalidUrl: if it has no host, an impossible port or another scheme.
    """
    try:
        url = httpx.URL(address)
        has_host = bool(url.host)
    except (httpx.InvalidURL, UnicodeError) as e:
        raise InvalidUrl(
            f"{shorten(address)!r} cannot be read as a web address."
        ) from e
    if url.scheme not in {"http", "https"} or not has_host:
        raise InvalidUrl(
            f"{shorten(address)!r} is not an http or https address with a host."
        )
    if not 0 < origin(url)[2] < 65536:
        raise InvalidUrl(
            f"{shorten(address)!r} has port {url.port}; ports go from 1 to 65535."
        )
    return url


def origin(url: httpx.URL) -> tuple[str, str, int]:
    """Scheme, host and port: what must be equal for a token to be sent."""
    default_port = 443 if url.scheme == "https" else 80
    return url.scheme, _host(url), default_port if url.port is None else url.port


def shorten(address: str) -> str:
    """An address for messages: no user, password, query, or megabytes of data."""
    if address[:5].lower() == "data:":
        return f"{address.partition(',')[0][:60]},... ({len(address)} characters)"
    scheme, slashes, rest = address.partition("//")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    is_plain = re.fullmatch(r"[^:@\[]*(:\d*)?|\[[^\]@]*\](:\d*)?", authority)
    if slashes and not is_plain and "@" in rest:
        # A password may hold any character, "/" included; then all goes that
        # could belong to it.
        end = len(authority) if "@" in authority else len(rest)
        rest = rest[rest.rindex("@", 0, end) + 1 :]
    shown = re.split(r"[?#]", scheme + slashes + rest, maxsplit=1)[0]
    if len(shown) > _LONGEST_SHOWN:
        shown = shown[: _LONGEST_SHOWN - 3] + "..."
    return shown


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").rstrip(".")


def _unwrap(ip: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


def _is_public(ip: IPAddress) -> bool:
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return ip.is_global and not ip.is_multicast
