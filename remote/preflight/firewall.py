"""Commands to paste that mend what `motley check` finds. Pure.

>>> let_in(probe, ["10.0.0.8", "10.0.0.9"])
'sudo ufw allow from 10.0.0.0/24'
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from motley.remote.preflight.probe import Probe

MIRRORED = r'Add-Content $HOME\.wslconfig "[wsl2]`nnetworkingMode=mirrored"; wsl --shutdown'
RULES = "sudo nft list ruleset"
LET_IN = "Set-NetFirewallHyperVVMSetting -Name '{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}' -DefaultInboundAction Allow"


def let_in(probe: Probe, addresses: Sequence[str]) -> str:
    """The command that lets TCP from these addresses through the firewall of the host, whatever it is."""
    return _rules(probe, addresses, ufw="from", iptables="INPUT -s")


def let_out(probe: Probe, addresses: Sequence[str]) -> str:
    """The same for connections that begin there."""
    return _rules(probe, addresses, ufw="out to", iptables="OUTPUT -d")


def places(probe: Probe, addresses: Sequence[str]) -> list[str]:
    """The host's own network where all addresses are in it, else each address.

    >>> places(probe_in("10.0.0.0/24"), ["10.0.0.7", "10.0.0.8"])
    ['10.0.0.0/24']
    """
    network = ipaddress.ip_network(probe.network) if probe.network else None
    if network is not None and all(ipaddress.ip_address(address) in network for address in addresses):
        return [str(network)]
    return sorted(set(addresses))


def _rules(probe: Probe, addresses: Sequence[str], *, ufw: str, iptables: str) -> str:
    found = places(probe, addresses)
    if probe.firewall == "ufw":
        return " && ".join(f"sudo ufw allow {ufw} {place}" for place in found)
    if probe.firewall == "firewalld":
        rules = [f"sudo firewall-cmd --permanent --zone=trusted --add-source={place}" for place in found]
        return " && ".join([*rules, "sudo firewall-cmd --reload"])
    if probe.firewall == "iptables":
        names = {place: "ip6tables" if ":" in place else "iptables" for place in found}
        chain, flag = iptables.split()
        return " && ".join(f"sudo {names[place]} -I {chain} -p tcp {flag} {place} -j ACCEPT" for place in found)
    nft = re.fullmatch(r"nft (\w+ \w+ \w+)", probe.firewall)
    if nft and ufw == "from":
        rules = [f"{'ip6' if ':' in place else 'ip'} saddr {place}" for place in found]
        return " && ".join(f"sudo nft insert rule {nft[1]} {rule} accept" for rule in rules)
    return RULES
