"""Which adapters an engine holds, which of them are in use, and who makes way for the next (pure).

An engine keeps its own list, least recently used first, and forgets nothing it was told to unload until the
place is needed. So an unloaded adapter keeps its place in these books too: were it not counted, the engine would
run out of places before we do and drop one we believe resident.
"""

from dataclasses import dataclass


@dataclass(eq=False)
class Place:
    """What the engine holds, or may still hold, of one loading of an adapter."""

    name: str
    is_resident: bool  # False: being loaded, or unloaded and not yet overwritten
    pins: int = 0  # requests under way


class Residency:
    """The books of one engine process. A new process begins with new books."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._places: list[Place] = []  # least recently used first
        self._residents: dict[str, Place] = {}  # those of them that are resident, by name

    def is_resident(self, name: str) -> bool:
        return self._find(name) is not None

    def names(self) -> list[str]:
        """Every resident name, least recently used first."""
        return [place.name for place in self._places if place.is_resident]

    def pins(self, name: str) -> int:
        """Say how many requests under way use an adapter."""
        place = self._find(name)
        return place.pins if place is not None else 0

    def has_free_place(self) -> bool:
        """Whether an adapter can be loaded without another making way."""
        return len(self._places) < self._capacity

    def reserve(self, name: str) -> list[str] | None:
        """Take a place for an adapter about to be loaded; end with `admit` or `abandon`.

        Gives the names to unload first, which are not resident from now on, or None if every place is in use:
        then nothing has changed.
        """
        unused = [place for place in self._places if not place.pins]
        surplus = len(self._places) + 1 - self._capacity
        if surplus > len(unused):
            return None
        leaving = unused[: max(0, surplus)]
        for place in leaving:
            self._places.remove(place)
            if place.is_resident:
                del self._residents[place.name]
        self._places.append(Place(name, is_resident=False, pins=1))
        return [place.name for place in leaving if place.is_resident]

    def admit(self, name: str, pins: int) -> Place:
        """Make an adapter resident, loaded and checked, with a pin for each request that waited for it."""
        place = self._reserved(name)
        place.is_resident, place.pins = True, pins
        self._residents[name] = place
        self._touch(place)
        return place

    def abandon(self, name: str) -> None:
        """End a reservation without an adapter. The engine may hold it all the same, so the place stays taken."""
        self._reserved(name).pins = 0

    def pin(self, name: str) -> Place:
        """Note that a request uses a resident adapter, which cannot be evicted until `unpin` of what this gives."""
        place = self._find(name)
        if place is None:
            raise KeyError(name)
        place.pins += 1
        self._touch(place)
        return place

    def unpin(self, place: Place) -> None:
        """Note that such a request has ended; without effect if the adapter was dropped meanwhile."""
        if place.pins:
            place.pins -= 1
            self._touch(place)

    def drop(self, name: str) -> None:
        """Note that an adapter is unloaded, or was found missing. Idempotent."""
        place = self._find(name)
        if place is not None:
            place.is_resident, place.pins = False, 0
            del self._residents[name]

    def _touch(self, place: Place) -> None:
        self._places.remove(place)
        self._places.append(place)

    def _find(self, name: str) -> Place | None:
        return self._residents.get(name)

    def _reserved(self, name: str) -> Place:
        return next(place for place in self._places if place.name == name and not place.is_resident and place.pins)
