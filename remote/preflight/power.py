"""Whether the machine that takes part itself may fall asleep in the middle of a run: read below a root folder.

>>> [cause for cause, remedy in power(Path("/"))]
['it runs on battery (BAT0: 61 %)', 'closing its lid suspends it (suspend): for the run that is losing this host']
"""

from __future__ import annotations

import re
from pathlib import Path

_PLACES = ("etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd")  # the first one counts
_SETTING = re.compile(r"^(HandleLidSwitch(?:ExternalPower)?)[ \t]*=[ \t]*(\S*)[ \t]*$", re.MULTILINE)
_AWAKE = ("ignore", "lock")  # what else it may do ends the run's part, or holds it up
_LID = (
    "printf '[Login]\\nHandleLidSwitch=ignore\\n' | sudo tee /etc/systemd/logind.conf.d/lid.conf; "
    "sudo systemctl reload systemd-logind"
)


def power(root: Path) -> list[tuple[str, str]]:
    """Cause and remedy of each. Nothing on a machine without battery and lid, or whose files don't tell."""
    supplies = _supplies(root)
    mains = [online for kind, online, _ in supplies.values() if kind in ("Mains", "USB") and online is not None]
    draining = [name for name, (kind, _, status) in supplies.items() if kind == "Battery" and status == "Discharging"]
    on_battery = bool(draining) and not any(mains)
    found = []
    if on_battery:
        level = _text(root / "sys/class/power_supply" / draining[0] / "capacity")
        cause = f"it runs on battery ({draining[0]}{f': {level} %' if level else ''})"
        found.append((cause, "Plug it in: when the battery is empty, the run goes on without it, or ends."))
    if (wanted := _lid(root, on_battery)) not in _AWAKE and any((root / "proc/acpi/button/lid").glob("*/state")):
        cause = f"closing its lid suspends it ({wanted}): for the run that is losing this host"
        remedy = f"Leave the lid open, or have it do nothing: sudo mkdir -p /etc/systemd/logind.conf.d; {_LID}"
        found.append((cause, remedy))
    return found


def _lid(root: Path, on_battery: bool) -> str:
    """What systemd-logind does, as it is set up, when the lid is closed; "ignore" where it does not run."""
    if not (root / "run/systemd/system").is_dir():
        return "ignore"
    settings = dict(_settings(root))
    usual = settings.get("HandleLidSwitch") or "suspend"
    return usual if on_battery else settings.get("HandleLidSwitchExternalPower") or usual


def _settings(root: Path) -> list[tuple[str, str]]:
    """Of logind.conf, then of its drop-ins, which count in the order of their names, wherever they lie."""
    own = next((text for place in _PLACES if (text := _text(root / place / "logind.conf"))), "")
    dropins: dict[str, Path] = {}
    for place in reversed(_PLACES):
        dropins.update({path.name: path for path in (root / place / "logind.conf.d").glob("*.conf")})
    texts = [own, *(_text(dropins[name]) for name in sorted(dropins))]
    return [pair for text in texts for pair in _SETTING.findall(text)]


def _supplies(root: Path) -> dict[str, tuple[str, bool | None, str]]:
    """By name: its type, whether it is online (None: it does not say), its status. Without those of a mouse or so."""
    found = {}
    for folder in sorted((root / "sys/class/power_supply").glob("*")):
        if _text(folder / "scope") == "Device":
            continue
        online = _text(folder / "online")
        found[folder.name] = (_text(folder / "type"), None if not online else online != "0", _text(folder / "status"))
    return found


def _text(path: Path) -> str:
    """Empty where it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
