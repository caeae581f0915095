"""Archives stored completions, and what Tunesmith has no place for: evals with their runs and results."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from server.importing.archive import Archive, Json
from server.importing.completions import CompletionImport
from server.importing.errors import Refused
from server.importing.objects import shown_id
from server.importing.reader import AccountReader, segment
from server.importing.report import Report, Section

_PAGE = 100
_VERB = "archived"


@dataclass
class StoredImport:
    reader: AccountReader
    report: Report
    open_archive: Callable[[str], Archive]  # by the name of its file, without ending
    completions: CompletionImport

    def archive_completions(self) -> None:
        """Each with its messages, and after it has been stored in the project, too. Raises: ImportFailed."""
        section = self.report.section("stored completions", _VERB)
        with self.open_archive("stored_completions") as archive:
            for told in self._list(section, "/chat/completions"):
                self._archive(section, archive, told, self._store)

    def archive_evals(self) -> None:
        """Evals, their runs, and the results of those. Raises: ImportFailed."""
        section = self.report.section("evals", _VERB)
        evals = list(self._list(section, "/evals"))
        with self.open_archive("evals") as archive:
            for told in evals:
                self._archive(section, archive, told)
        if evals:
            self._archive_runs([told["id"] for told in evals])

    def _archive_runs(self, eval_ids: list[str]) -> None:
        """A run is written down after its results: one that is there is there with all of them."""
        runs, results = self.report.section("eval runs", _VERB), self.report.section("eval results", _VERB)
        with self.open_archive("eval_runs") as archive, self.open_archive("eval_results") as items:

            def archive_results(run: Json) -> Json:
                path = f"/evals/{segment(run['eval_id'])}/runs/{segment(run['id'])}/output_items"
                for item in self.reader.pages(path, limit=_PAGE, order="asc"):
                    self._archive(results, items, {"eval_id": run["eval_id"], "run_id": run["id"], **item})
                return {}

            for eval_id in eval_ids:
                for run in self._list(runs, f"/evals/{segment(eval_id)}/runs"):
                    self._archive(runs, archive, {"eval_id": eval_id, **run}, archive_results)

    def _archive(
        self, section: Section, archive: Archive, told: Json, complete: Callable[[Json], Json] | None = None
    ) -> None:
        """Write an object down, unless it is there as it is; `complete` fetches what belongs to it."""
        if archive.holds(told):
            section.add_present()
            return
        try:
            added = complete(told) if complete else {}
        except Refused as refused:
            section.add_failed(shown_id(told), str(refused))
            return
        archive.add(told, added)
        section.add()

    def _store(self, completion: Json) -> Json:
        path = f"/chat/completions/{segment(completion['id'])}/messages"
        messages = list(self.reader.pages(path, limit=_PAGE, order="asc"))
        self.completions.store(completion, messages)
        return {"messages": messages}

    def _list(self, section: Section, path: str) -> Iterator[Json]:
        """The objects of a list. One that cannot be read ends it, and is said."""
        try:
            for told in self.reader.pages(path, limit=_PAGE, order="asc"):
                if isinstance(told.get("id"), str):
                    yield told
                else:
                    section.add_failed(shown_id(told), "it has no id")
        except Refused as refused:
            if refused.is_not_offered and not section.seen:
                section.not_offered = str(refused)
            else:
                section.add_failed(path, str(refused))
