"""Web addresses: which are Label Studio's and its files', and which may be asked.

Pure: a URL and a LabelStudioAccess in, whether it gets the token and how far it
may reach out. Opens no connection and resolves no name; `guarded_network.py`
applies the reach to the addresses that a name resolves to.
"""

import enum
import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Self

import httpx

from backend.errors import ImageRefused
from backend.values import LabelStudioAccess

SUPPORTED: Final = (
    "Supported are uploads to Label Studio and its local files (/data/...), cloud "
    "storage (s3://, gs://, azure-blob://), http and https addresses, and data: URIs "
    "of images"
)
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
# Where a path that is a file of Label Studio begins, behind any sub-path.
_OWN_FILES: Final = re.compile(
    r"/(?:data/upload/|data/local-files(?=[/?]|$)|storage-data/uploaded(?=[/?]|$)"
    r"|(?:tasks|projects)/\d+/(?:resolve|presign)(?=[/?]|$))"
)


class Reach(enum.Enum):
    """Which networks a request may connect to."""

    PUBLIC = "the public internet"
    PRIVATE = "the public internet, private networks and this machine"
    ANYWHERE = "any address"

    def allows(self, address: str) -> bool:
        """Say whether an IP address lies within this reach."""
        if self is Reach.ANYWHERE:
            return True
        ip = _unwrap(ipaddress.ip_address(address))
        if ip in _METADATA_SERVICES:
            return False
        if _is_public(ip):
            return True
        return self is Reach.PRIVATE and any(
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
        try:
            url = httpx.URL(f"rule://{rest}")  # a scheme without a default port
            has_host = bool(url.host)
        except (httpx.InvalidURL, UnicodeError) as e:
            raise ValueError(f"{text!r} is not a host, host:port or *.suffix") from e
        if (
            not has_host
            or re.search(r"[*%\s]", rest)
            or str(url) != f"rule://{url.netloc.decode()}"
        ):
            raise ValueError(f"{text!r} is not a host, host:port or *.suffix")
        return cls(_host(url), url.port, rest != text.strip())

    def names(self, url: httpx.URL) -> bool:
        """Say whether the URL's host, and port if the rule has one, are meant."""
        host = _host(url)
        if self.port is not None and self.port != origin(url)[2]:
            return False
        if self.with_subdomains:
            return host.endswith("." + self.host)
        return host == self.host


def parse_url(address: str) -> httpx.URL:
    """Read an absolute http(s) URL.

    Raises:
        ImageRefused: if it has no host, an impossible port or another scheme.
    """
    try:
        url = httpx.URL(address)
        has_host = bool(url.host)
    except (httpx.InvalidURL, UnicodeError) as e:
        raise ImageRefused(
            f"{shorten(address)!r} cannot be read as a web address. {SUPPORTED}."
        ) from e
    if url.scheme not in {"http", "https"} or not has_host:
        raise ImageRefused(
            f"{shorten(address)!r} is not an http or https address with a host. "
            f"{SUPPORTED}."
        )
    if not 0 < origin(url)[2] < 65536:
        raise ImageRefused(
            f"{shorten(address)!r} has port {url.port}; ports go from 1 to 65535."
        )
    return url


def origin(url: httpx.URL) -> tuple[str, str, int]:
    """Scheme, host and port: what must be equal for a token to be sent."""
    default_port = 443 if url.scheme == "https" else 80
    return url.scheme, _host(url), default_port if url.port is None else url.port


def own_file(path: str) -> str | None:
    """What of a path names a file of Label Studio, any sub-path left out.

    Args:
        path: without its query; as written or decoded.

    Returns:
        The end of the path, from `/data/upload/` or its like on; None where Label
        Studio serves no file, as anywhere below `/api/`.
    """
    found = _OWN_FILES.search(path)
    if found is None or ".." in _steps(path):
        return None
    if "api" in _steps(path[: found.start()].casefold()):
        return None
    return path[found.start() :]


def is_label_studio(url: httpx.URL, access: LabelStudioAccess) -> bool:
    """Say whether the URL is on Label Studio, below its sub-path if it has one."""
    return access.url is not None and _is_below(url, access.url)


def takes_token(url: httpx.URL, access: LabelStudioAccess) -> bool:
    """Say whether the URL is where Label Studio serves files.

    The token opens its whole API as well, where a GET may do more than read: one of
    a task can make Label Studio ask this backend for a prediction.
    """
    if access.url is None or not is_label_studio(url, access):
        return False
    sub_path = parse_url(access.url).path.rstrip("/")
    return own_file(url.path[len(sub_path) :]) is not None


def is_untrusted_home(url: httpx.URL, access: LabelStudioAccess) -> bool:
    """Say whether the host is Label Studio's according to an untrusted `/setup`."""
    return (
        _is_home(url, access)
        and not access.from_environment
        and not access.may_be_private
    )


def bears_known_name(url: httpx.URL, access: LabelStudioAccess) -> bool:
    """Say whether the URL is where Label Studio says that it is itself.

    No token goes there, as anybody may have said so.
    """
    try:
        return access.known_as is not None and _is_below(url, access.known_as)
    except ImageRefused:  # it is no address at all
        return False


def reach_of(
    url: httpx.URL, access: LabelStudioAccess, image_hosts: tuple[HostRule, ...]
) -> Reach:
    """Decide how far a request for this URL may go.

    * Label Studio from the environment, and every host that `image_hosts` names:
      anywhere.
    * Label Studio learned from `/setup`, where `access.may_be_private`: private
      networks too, but never link-local addresses and metadata services.
    * Every other host: the public internet, and nothing if there are rules.

    Raises:
        ImageRefused: if there are rules and none names the host.
    """
    is_home = _is_home(url, access)
    if is_home and access.from_environment:
        return Reach.ANYWHERE
    if any(rule.names(url) for rule in image_hosts):
        return Reach.ANYWHERE
    if is_home and access.may_be_private:
        return Reach.PRIVATE
    if image_hosts:
        remedy = "or upload the image to Label Studio."
        if is_home:
            remedy = (
                "or, as this is Label Studio, set LABEL_STUDIO_URL to it, or set "
                "BASIC_AUTH_USER and BASIC_AUTH_PASS: an address that came with "
                "/setup is believed only where strangers cannot send it."
            )
        raise ImageRefused(
            f"Host {url.host!r} of {shorten(str(url))!r} is not among IMAGE_HOSTS. "
            f"Add {url.netloc.decode()} there, {remedy}"
        )
    return Reach.PUBLIC


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


def _is_home(url: httpx.URL, access: LabelStudioAccess) -> bool:
    return access.url is not None and origin(url) == origin(parse_url(access.url))


def _is_below(url: httpx.URL, place: str) -> bool:
    home = parse_url(place)
    sub_path = home.path.rstrip("/")
    if origin(url) != origin(home) or not (url.path + "/").startswith(sub_path + "/"):
        return False
    # "/sub/%2e%2e/x" is another program's: servers decode before they walk up.
    return not sub_path or ".." not in _steps(url.path)


def _steps(path: str) -> list[str]:
    return re.split(r"[/\\]", path)


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
