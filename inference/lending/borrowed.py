"""The adapters of one engine process, kept by another process of ours."""

from contextlib import AbstractAsyncContextManager

from inference.engine import AdapterRef
from inference.lending.borrower import Borrower
from inference.lending.lease import BorrowedLease
from inference.report import AdapterReport, RejectionReport


class BorrowedAdapters:
    """What `VllmEngine` asks of its adapters, asked of their keeper."""

    def __init__(self, borrower: Borrower, base_model: str) -> None:
        self._borrower = borrower
        self._base_model = base_model

    def use(self, adapter: AdapterRef) -> AbstractAsyncContextManager[BorrowedLease]:
        """Raises: AdapterRejected, EngineUnavailable: as the port says."""
        return self._borrower.use(adapter)

    def lost(self, name: str) -> None:
        """Note that the engine does not know an adapter after all."""
        self._borrower.lost(self._base_model, name)

    async def forget(self, name: str) -> None:
        """Raises: EngineUnavailable: it may still be read."""
        await self._borrower.forget(self._base_model, name)

    def retire(self) -> list[AdapterRef]:
        """Note that the process has ended. What it held its keeper knows."""
        self._borrower.leave(self._base_model)
        return []

    def report(self) -> tuple[tuple[AdapterReport, ...], tuple[RejectionReport, ...]]:
        """Its keeper reports."""
        return (), ()

    async def close(self) -> None:
        """There is nothing under way here."""
