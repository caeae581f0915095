"""`python -m trainer check`: what is in these files, how do they tokenise? No torch, no weights."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from trainer.base_layers import read_base_layers
from trainer.base_model import count_parameters
from trainer.choosing import choose, report_chosen
from trainer.contract.examples import Example, read_file
from trainer.contract.invalid import ExampleInvalid
from trainer.contract.report import CheckReport, FileKind, FileReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import CheckSpec, MethodName, PiiPolicy
from trainer.conversations import conversations_of
from trainer.dataset import nothing_left
from trainer.gate.evenly import take_evenly
from trainer.gate.gate import Gate
from trainer.gate.signatures import common_shingles
from trainer.gate.view import prompt_of, view_of
from trainer.model_shape import read_config, read_shape, refuse_other_than_text
from trainer.pii.examples import PiiTally, redact, scan
from trainer.selection_files import write_selection
from trainer.tokenising import DataFile, read_format
from trainer.tokenizer import ChatTokenizer, load_chat_tokenizer


def check(run_directory: RunDirectory, spec: CheckSpec) -> CheckReport:
    """Answer for one run directory.

    Raises:
        TrainerError: a file or the base model cannot be used.
    """
    tokenizer = load_chat_tokenizer(spec.base_model)
    refuse_other_than_text(read_config(spec.base_model) or {})
    n_parameters = count_parameters(spec.base_model)
    of_base = {
        "base_parameters": n_parameters,
        "base_shape": read_shape(spec.base_model),
        "base_layers": read_base_layers(spec.base_model),
    }
    return look_through(run_directory, spec, tokenizer).model_copy(update=of_base)


def look_through(run_directory: RunDirectory, spec: CheckSpec, tokenizer: ChatTokenizer) -> CheckReport:
    """Put all files through the data gate, and choose among their examples if that is wanted.

    Raises:
        FileUnusable: a line is wrong, or no example is left.
    """

    def data_file(path: Path) -> DataFile:
        return DataFile(run_directory, path, tokenizer, method=spec.method, redacts=spec.pii == "redact")

    with TemporaryDirectory(prefix="gate-", dir=run_directory.root) as scratch:
        gate = Gate(
            Path(scratch),
            stop_ids=tokenizer.stop_ids,
            limit_tokens=spec.context_length_tokens,
            common=_common_to_prompts(run_directory.training_file, spec.method),
            pii=spec.pii,
            method=spec.method,
        )
        with closing(gate):
            reports: dict[FileKind, FileReport] = {}
            for file in map(data_file, _paths(run_directory, spec)):
                reports[file.kind] = _pass_through(gate, file, spec)
            validation = reports.get("validation")
            if spec.selection is None:
                return CheckReport(training=reports["training"], validation=validation, findings=gate.findings())
            selection = choose(gate, spec.selection, has_validation_file=validation is not None)
            sha256 = write_selection(run_directory.selection, selection)
            report = report_chosen(gate, reports, selection, spec.selection)
            return report.model_copy(update={"selection_sha256": sha256})


def _paths(run_directory: RunDirectory, spec: CheckSpec) -> Iterator[Path]:
    """The data files, in the order in which the gate takes them."""
    yield run_directory.training_file
    if run_directory.validation_file.exists():
        yield run_directory.validation_file
    for place in range(len(spec.selection.mix_in) if spec.selection else 0):
        yield run_directory.mixed_in_file(place)


def _pass_through(gate: Gate, file: DataFile, spec: CheckSpec) -> FileReport:
    limit_tokens = spec.context_length_tokens
    prepare = _preparation(spec.pii, gate.tally(file.kind))
    for batch in file.read(prepare):
        gate.add(file.kind, [view_of(whole, gate.limit_tokens) for whole in batch])
    report = gate.report(file.kind, read_format(file.path, file.kind))
    if report.n_examples == 0:
        raise nothing_left(file.kind, len(report.dropped_lines), limit_tokens, report.longest_tokens)
    return report.model_copy(update={"n_tokenised": file.n_tokenised})


def _preparation(policy: PiiPolicy, tally: PiiTally) -> Callable[[Example], Example] | None:
    def count(example: Example) -> Example:
        scan(example, tally)
        return example

    match policy:
        case "off":
            return None
        case "redact":
            return lambda example: redact(example, tally)
        case _:
            return count


def _common_to_prompts(path: Path, method: MethodName) -> frozenset[str]:
    """What most of the prompts share; of a file that cannot be read to its end, nothing."""
    try:
        examples = take_evenly(read_file(path, method))
        return common_shingles([prompt_of(conversations_of(example)[0]) for example in examples])
    except ExampleInvalid:
        return frozenset()  # is said by the reading that tokenises
