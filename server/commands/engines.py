"""`tunesmith engines`: how every base model's engine stands, and which adapters it holds."""

import http.client
import json
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from server.commands.home import opened
from server.commands.table import local_time, table
from server.fine_tuning.publishing.adapter_check import UnixConnection
from server.placement.repository import placing, read_engine_facts, read_engines
from server.placement.sizing import EngineSize
from server.placement.standing import Standing, describe
from server.settings import Settings

_TIMEOUT_S = 5.0
_SHOWN_HASH = len("sha256:") + 12


def run(_asked: Namespace, settings: Settings) -> int:
    """Raises: CommandFailed: there is no such home."""
    with opened(settings) as database, placing(database) as session:
        standings = read_engines(session)
        facts = read_engine_facts(session, [EngineSize(name, 0) for name in standings], time.time())
    said = _ask(settings)
    head = ("BASE MODEL", "STATE", "SINCE", "START S", "LAST ASKED", "WAITING", "ANSWERING", "DEATHS")
    rows = [
        (
            engine.base_model,
            "not running" if said is None else describe(standings[engine.base_model]),
            local_time(int(engine.state_since)),
            _seconds(standings[engine.base_model].start_s),
            local_time(int(engine.asked_at)) if engine.asked_at else "",
            str(engine.waiting),
            str(engine.active),
            str(standings[engine.base_model].deaths),
        )
        for engine in facts
    ]
    print(table(head, rows))
    _print_details(standings)
    if said is not None:
        _print_adapters(said)
    return 0


def _print_details(standings: Mapping[str, Standing]) -> None:
    for name, standing in standings.items():
        if standing.detail is not None:
            print(f"\n{name}: {standing.detail}")


def _print_adapters(said: Mapping[str, Any]) -> None:
    """What an engine does not say is a dash."""
    adapters = [
        (
            name,
            str(adapter.get("name", "")),
            str(adapter.get("sha256") or "")[:_SHOWN_HASH],
            local_time(int(adapter["loaded_at"])) if adapter.get("loaded_at") else "",
            _seconds(adapter.get("load_s")),
            _seconds(adapter.get("check_s")),
            str(adapter.get("proof") or ""),
            str(adapter.get("pins", "")),
        )
        for name, engine in said.items()
        for adapter in engine.get("adapters", [])
    ]
    if adapters:
        head = ("BASE MODEL", "ADAPTER", "WEIGHTS", "LOADED", "LOAD S", "CHECK S", "PROOF", "IN USE")
        print(f"\n{table(head, adapters)}")
    rejected = [
        (name, str(entry.get("name", "")), local_time(int(entry.get("at", 0))), str(entry.get("reason", "")))
        for name, engine in said.items()
        for entry in engine.get("rejected", [])
    ]
    if rejected:
        print(f"\n{table(('BASE MODEL', 'REJECTED', 'AT', 'REASON'), rejected)}")


def _ask(settings: Settings) -> Mapping[str, Any] | None:
    """What the API process knows of its engines; None: it does not answer."""
    connection = UnixConnection(settings.control_socket, _TIMEOUT_S)
    try:
        connection.request("GET", "/engines")
        answer: Mapping[str, Any] = json.loads(connection.getresponse().read())
        return answer
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
